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
 * What makes two packets one flow. Every octet counts, also the pad: a key starts from zero. The members up to
 * the IPv4 addresses are a key of their own, so that an IPv4 flow is hashed and compared by 24 octets.
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
	__u8 pad;
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
};

#define FLOW_KEY_IPV4_SIZE 24
#define FLOW_KEY_IPV6_SIZE 48

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
	__u32 flow_label_ipv6;
	struct flow_count own;
	struct flow_key key;
	/* Known at the first packet, and not changed by later ones: */
	__u64 flow_start_ns;
	struct flow_count others;
	__u32 ingress_interface;
	__u32 egress_interface; /* 0: this host, or not known */
	__u8 ip_next_hop_address[16]; /* IPv4 in the first four; zero: on the link, or not known */
	__u8 source_mac_address[6];
	__u8 destination_mac_address[6];
	__u8 ip_class_of_service;
	/* The agent's, of a slot that is EXPIRING; programs do not look at them: */
	__u8 flow_end_reason; /* IANA 136 */
	__u8 pad[2];
	__u64 transaction; /* of the agent's journal, with which the record went out: 0 if none yet */
	__u8 tcp_control_bit_seen[8]; /* each flag of `others`, exactly; on PREEMPT_RT of `own` too */
	__u8 reserved[8];
} __attribute__((aligned(64)));

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

/* Which header fields make the key: the rest is zeroed by mask_key(). */
enum key_field {
	KEY_VLAN = 1 << 0,
};

/* Fixed before the program is loaded, so that the verifier drops what is switched off. */
struct meter_config {
	__u32 key_fields; /* of enum key_field */
	__u32 sampling_rate; /* 1 in this many packets is metered */
	__u32 sampling_random; /* any one of each window, not the first */
	__u32 slot_mask; /* entries of the ring of free slots, less one: a power of two */
	__u32 bucket_mask; /* interface buckets, less one */
	__u32 atomic_counters; /* PREEMPT_RT: BH does not keep a CPU to itself */
	__u32 replayed_clock; /* time is what the agent says, and no route is looked up */
	__u32 hint_shift; /* the bits of a hash above these number the sets of hints */
	__u64 tick_ns; /* length of a jiffy */
	__u64 hash_multipliers[6]; /* random and odd: nobody outside can make flows collide */
	/* Of no size: they bring the enums into the object's BTF, where the agent finds them. */
	enum packet_outcome packet_outcomes[0];
	enum key_field key_field_names[0];
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
