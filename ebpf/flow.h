/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The flow table as both sides know it: the programs that write it, and the agent that maps it. The agent reads
 * offsets and constants from the object's BTF, so they are declared here and nowhere else. Names are IANA's
 * Information Elements; numbers are host order and times are nanoseconds of CLOCK_MONOTONIC, unless a type
 * or a comment says otherwise.
 */
#ifndef XFLOWD_FLOW_H
#define XFLOWD_FLOW_H

#include <linux/types.h>

enum flow_direction {
	FLOW_INGRESS = 0, /* flowDirection, IANA 61 */
	FLOW_EGRESS = 1,
};

/*
 * The life of a slot. FREE to LIVE is the program's step, LIVE to EXPIRING to FREE the agent's. A slot that
 * lost the race to open its flow is DISCARDED: it has counted nothing, and the agent only gives it back.
 */
enum slot_state {
	SLOT_FREE = 0,
	SLOT_LIVE = 1,
	SLOT_EXPIRING = 2,
	SLOT_DISCARDED = 3,
} __attribute__((packed));

/*
 * What makes two packets one flow: every octet counts, and a key starts from zero. The members up to the IPv4 addresses
 * are a key of their own, so that an IPv4 flow is hashed and compared by 24 octets, and one of IPv6 by 48. What follows
 * them belongs to the key where config.extended_mask says so. In a slot it is the first packet's, whatever the mask; in
 * the index it is masked.
 */
struct flow_key {
	__u32 interface; /* the one observed */
	__be16 source_transport_port; /* 0 where there is none: ICMP, later fragments */
	__be16 destination_transport_port; /* of ICMP: type, code */
	__u16 vlan_id; /* the outermost tag */
	__u16 dot1q_customer_vlan_id; /* the tag behind it */
	__u8 protocol_identifier;
	__u8 ip_version;
	__u8 flow_direction;
	__u8 ip_class_of_service; /* 0 unless it is in the key */
	union {
		struct {
			__be32 source_ipv4_address;
			__be32 destination_ipv4_address;
		};
		struct {
			__u8 source_ipv6_address[16];
			__u8 destination_ipv6_address[16];
		};
	};
	__u8 source_mac_address[6];
	__u8 destination_mac_address[6];
	__u32 flow_label_ipv6;
};

#define FLOW_KEY_IPV4_SIZE 24
#define FLOW_KEY_IPV6_SIZE 48
#define FLOW_KEY_EXTENDED_SIZE 64 /* of both versions */

/* What is counted of every packet. A flow has two of these: see struct flow_slot. */
struct flow_count {
	__u64 packet_delta_count;
	__u64 octet_delta_count; /* IP header and payload */
	__u64 flow_end_ns;
	__u16 minimum_ip_total_length;
	__u16 maximum_ip_total_length;
	__u8 minimum_ttl;
	__u8 maximum_ttl;
	__u8 tcp_control_bits;
	__u8 pad;
};

/*
 * One flow. The CPU that opened it adds to `own` without atomics, every other CPU to `others` with them; the agent
 * takes the two together. Only the extremes of `others` may miss those of one of two CPUs that come at the same moment:
 * it would take an atomic comparison, which is of Linux 5.12. An IPv4 packet of a known flow touches the first cache
 * line only.
 */
struct flow_slot {
	enum slot_state state; /* one octet */
	__u8 end_seen; /* a FIN or RST has passed */
	__u16 owner; /* the CPU */
	__u8 ip_class_of_service; /* the first packet's */
	__u8 pad[3];
	struct flow_count own;
	struct flow_key key;
	/* Known at the first packet, and not changed by later ones: */
	__u64 flow_start_ns;
	__u32 ingress_interface;
	__u32 egress_interface; /* 0: this host, or not known */
	__u8 ip_next_hop_address[16]; /* IPv4 in the first four; zero: on the link, or not known */
	struct flow_count others;
	__u8 tcp_control_bit_seen[8]; /* each flag of `others`, exactly; on PREEMPT_RT of `own` too */
	/* The agent's, of a slot that is EXPIRING; programs do not look at them: */
	__u64 transaction; /* of the agent's journal, with which the record went out: 0 if none yet */
	__u8 flow_end_reason; /* IANA 136 */
	__u8 reserved[7];
} __attribute__((aligned(64)));

/* What is kept of a flow beside its slot, a group a flag: see struct flow_detail. */
enum detail {
	DETAIL_MPLS = 1 << 0,
	DETAIL_FRAGMENTS = 1 << 1,
	DETAIL_OPTIONS = 1 << 2,
	DETAIL_TCP = 1 << 3,
	DETAIL_TCP_COUNTS = 1 << 4,
	DETAIL_TUNNEL = 1 << 5, /* of inner flows alone: config.tunnels */
};

/*
 * What few ask for: entry n belongs to slot n, and is zero wherever its group is not configured. Options are those of
 * any packet; of two CPUs that see new ones at the same moment one may be missed, as an atomic OR is of Linux 5.12. The
 * bits of the three sets lie so that the number is IANA's in network order.
 */
struct flow_detail {
	__u64 tcp_options; /* DETAIL_OPTIONS: IANA 209 */
	__u64 layer2_segment_id; /* DETAIL_TUNNEL: IANA 351, of VXLAN and of GRE that carries Ethernet */
	__u32 tcp_syn_total_count; /* DETAIL_TCP_COUNTS: IANA 218 to 223 */
	__u32 tcp_fin_total_count;
	__u32 tcp_rst_total_count;
	__u32 tcp_psh_total_count;
	__u32 tcp_ack_total_count;
	__u32 tcp_urg_total_count;
	__u32 mpls_top_label_stack_section; /* DETAIL_MPLS: IANA 70 to 72, the first packet's; 24 bits each */
	__u32 mpls_label_stack_section2;
	__u32 mpls_label_stack_section3;
	__u32 fragment_identification; /* DETAIL_FRAGMENTS: IANA 54, 88 and 197, the first packet's */
	__u32 ipv4_options; /* DETAIL_OPTIONS: IANA 208 */
	__u32 ipv6_extension_headers; /* DETAIL_OPTIONS: IANA 64 */
	__u32 gre_key; /* DETAIL_TUNNEL: IANA 296 */
	__u32 gtpu_teid; /* DETAIL_TUNNEL: IANA 507 */
	__u16 fragment_offset; /* in units of eight octets */
	__u16 tcp_window_size; /* DETAIL_TCP: IANA 186 and 238, of the first SYN */
	__u16 tcp_window_scale;
	__u8 fragment_flags;
	__u8 mpls_label_stack_depth; /* IANA 202 */
	__u8 outer_source_address[16]; /* DETAIL_TUNNEL: of the outermost IP header; IPv4 in the first four */
	__u8 outer_destination_address[16];
	__u8 outer_ip_version; /* of that header; 0 where the flow is in no tunnel */
	__u8 tcp_syn_seen; /* DETAIL_TCP: window and scale are told, and may be 0 */
	__u8 reserved[14];
};

/*
 * Where flows were found last: two slots for each value of their hash, which the index need not be asked for. Below
 * HINT_TAG it is the slot's number, above it some more bits of the hash. A hint may be stale: the slot has to be
 * LIVE and to have the key.
 */
struct flow_hint {
	__u32 first;
	__u32 second;
};

#define HINT_TAG 22
#define HINT_NUMBER ((1U << HINT_TAG) - 1)

/* Where a packet went, apart from its flow. SEEN is the sum of all the rest and of what the flows counted. */
enum packet_outcome {
	PACKETS_SEEN = 0,
	PACKETS_PARSED = PACKETS_SEEN, /* of the parser: nothing speaks against metering it */
	PACKETS_SAMPLED_OUT,
	PACKETS_NOT_IP,
	PACKETS_TOO_SHORT, /* the headers end before they are complete */
	PACKETS_MALFORMED, /* a version or length that contradicts itself */
	PACKETS_OVERFLOW, /* no slot was free: counted in an overflow record */
	PACKETS_UNCOUNTED, /* and no overflow record was to be had either */
	PACKETS_JUMBOGRAM, /* of more than 65,575 octets (RFC 2675): its length is not where others have it */
	PACKET_OUTCOMES = 8,
};

/* The Observation Point's own counters and its sampler, one for each CPU, direction and interface bucket. */
struct observation_point {
	__u64 packets[PACKET_OUTCOMES];
	__u32 window_position; /* packets of the current sampling window seen */
	__u32 window_choice; /* the one of it that is taken */
	__u8 reserved[56];
} __attribute__((aligned(64)));

/* Packets for which no slot was free: counters that only grow, the agent exports what they have grown by. */
struct overflow_key {
	__u32 interface;
	__u8 flow_direction;
	__u8 ip_version;
	__u8 protocol_identifier;
	__u8 pad;
};

struct overflow_record {
	__u64 packet_total_count;
	__u64 octet_total_count;
	__u64 flow_end_ns;
};

/* Which header fields make the key, beside interface, direction and IP version: mask_key() zeroes the rest. */
enum key_field {
	KEY_SOURCE_ADDRESS = 1 << 0,
	KEY_DESTINATION_ADDRESS = 1 << 1,
	KEY_PROTOCOL = 1 << 2,
	KEY_SOURCE_PORT = 1 << 3,
	KEY_DESTINATION_PORT = 1 << 4, /* of ICMP: type, code */
	KEY_VLAN = 1 << 5,
	KEY_CUSTOMER_VLAN = 1 << 6,
	KEY_CLASS_OF_SERVICE = 1 << 7,
	/* These make the key an extended one: */
	KEY_SOURCE_MAC = 1 << 8,
	KEY_DESTINATION_MAC = 1 << 9,
	KEY_FLOW_LABEL = 1 << 10,
};

#define KEY_USUAL 0x7f /* up to the VLANs: mask_key() has nothing to do */

/* Fixed before the program is loaded, so that the verifier drops what is switched off. */
struct meter_config {
	__u32 key_fields; /* of enum key_field */
	__u32 details; /* of enum detail */
	__u32 tunnels; /* a packet in a tunnel belongs to the flow of its inner headers */
	__u32 sampling_rate; /* 1 in this many packets is metered */
	__u32 sampling_random; /* any one of each window, not the first */
	__u32 slot_mask; /* entries of the ring of free slots, less one: a power of two */
	__u32 bucket_mask; /* interface buckets, less one */
	__u32 atomic_counters; /* PREEMPT_RT: BH does not keep a CPU to itself */
	__u32 replayed_clock; /* time is what the agent says, and no route is looked up */
	__u32 hint_shift; /* the bits of a hash above these number the sets of hints */
	__u64 tick_ns; /* length of a jiffy */
	__u64 extended_mask[2]; /* which bits of the extended part of struct flow_key belong to the key */
	__u64 hash_multipliers[8]; /* random and odd: nobody outside can make flows collide */
	/* Of no size: they bring the enums into the object's BTF, where the agent finds them. */
	enum packet_outcome packet_outcomes[0];
	enum key_field key_field_names[0];
	enum detail detail_names[0];
};

/* Written by the agent while programs run. */
struct meter_control {
	__u64 replayed_ns;
	__u64 tick_base_ns; /* what CLOCK_MONOTONIC was when jiffies were 0 */
	__u64 sampled_jiffies; /* read_clocks() puts both clocks here */
	__u64 sampled_ns;
	__u32 free_tail; /* slots ever put into the ring of free slots, modulo 2^32 */
	__u32 all_slots_used; /* the agent's: the ring has been round once, any slot may have a flow */
};

#endif
