// SPDX-License-Identifier: GPL-2.0-only
/*
 * The Metering Process in the kernel. A packet's way: its hook at the end of this file, meter(), the parser
 * in parse.bpf.h, the slot of its flow. No packet is changed, and whatever the outcome the next program runs.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "maps.bpf.h"
#include "parse.bpf.h"
#include "tunnel.bpf.h"

#define ADDRESS_FAMILY_IPV4 2
#define ADDRESS_FAMILY_IPV6 10
#define MAXIMUM_LENGTH 65535 /* an IPv6 packet can have 40 octets more */
#define GSO_BY_FRAGMENTS 0xffff /* segment_size of SCTP: its packets were put together from whole ones */
#define LINEAR_OCTETS 128 /* to pull of an skb whose headers lie elsewhere: enough for all but the strangest */
#define LINEAR_IPV4 54 /* Ethernet, IP and TCP headers: with as much in place, nothing is pulled, for that copies */
#define LINEAR_OTHERS 74
#define TUNNEL_OFFSET_MASK 0x7fff /* for the verifier, as IPV6_EXTENSIONS_MASK */
#define PACKET_TO_HOST 0 /* of skb->pkt_type: PACKET_HOST in <linux/if_packet.h> */
#define MAC_GROUP 0x01 /* of its first octet: multicast or broadcast (IEEE 802 8.2) */

/* Which context a program has, and what its frames begin with. A constant in each hook. */
enum hook {
	HOOK_XDP,
	HOOK_SKB,
	HOOK_SKB_NETWORK, /* a device without link layer: the IP header comes first */
};

static __always_inline void add(__u64 *counter, __u64 value, int shared)
{
	if (shared)
		__sync_fetch_and_add(counter, value);
	else
		*counter += value;
}

static __always_inline void count(struct observation_point *point, enum packet_outcome outcome, __u32 packets)
{
	add(&point->packets[outcome], packets, config.atomic_counters);
}

static __always_inline struct observation_point *find_point(__u32 interface, enum flow_direction direction)
{
	__u32 row = bpf_get_smp_processor_id() * 2 + direction;
	__u32 number = row * (config.bucket_mask + 1) + (interface & config.bucket_mask);

	return bpf_map_lookup_elem(&observation_points, &number);
}

static __always_inline __u32 choose_in_window(void)
{
	return config.sampling_random ? bpf_get_prandom_u32() % config.sampling_rate : 0;
}

/*
 * How many of the next `packets` are sampled: one in each window of sampling_rate, the first (systematic
 * count-based sampling, RFC 5475 5.1) or any (n-out-of-N with n = 1, RFC 5475 5.2.1). A GSO packet counts as
 * the packets that it stands for.
 */
static __always_inline __u32 sample(struct observation_point *point, __u32 packets)
{
	__u32 position = point->window_position, choice = point->window_choice;
	__u32 left = config.sampling_rate - position;
	__u32 taken;

	if (packets < left) {
		point->window_position = position + packets;
		return choice >= position && choice < position + packets;
	}
	taken = choice >= position;
	packets -= left;
	taken += packets / config.sampling_rate; /* whole windows: one each, wherever it is */
	packets %= config.sampling_rate;
	choice = choose_in_window();
	point->window_position = packets;
	point->window_choice = choice;
	return taken + (choice < packets);
}

static __always_inline __u64 exact_ns(void)
{
	return config.replayed_clock ? control.replayed_ns : bpf_ktime_get_ns();
}

/*
 * A tick behind at most, and no call: jiffies are read in place. Good enough for a packet that neither begins nor
 * ends a flow.
 */
static __always_inline __u64 coarse_ns(void)
{
	return config.replayed_clock ? control.replayed_ns : control.tick_base_ns + bpf_jiffies64() * config.tick_ns;
}

static __always_inline void mask_key(struct flow_key *key)
{
	if (!(config.key_fields & KEY_VLAN)) {
		key->vlan_id = 0;
		key->dot1q_customer_vlan_id = 0;
	}
}

static __always_inline int same_key(const struct flow_key *a, const struct flow_key *b)
{
	const __u64 *x = (const void *)a, *y = (const void *)b;

	if ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]))
		return 0;
	return a->ip_version == 4 || !((x[3] ^ y[3]) | (x[4] ^ y[4]) | (x[5] ^ y[5]));
}

static __always_inline int same_ipv6_address(const __u32 *a, const void *b)
{
	const __u32 *other = b;

	return !((a[0] ^ other[0]) | (a[1] ^ other[1]) | (a[2] ^ other[2]) | (a[3] ^ other[3]));
}

static __always_inline int same_mac_address(const void *a, const void *b)
{
	const __u16 *one = a, *other = b;

	return !((one[0] ^ other[0]) | (one[1] ^ other[1]) | (one[2] ^ other[2]));
}

/* Multilinear hashing (Carter and Wegman): the products do not wait for each other. */
static __always_inline __u64 hash_key(const struct flow_key *key)
{
	const volatile __u64 *by = config.hash_multipliers;
	const __u64 *word = (const void *)key;
	__u64 hash = word[0] * by[0] + word[1] * by[1] + word[2] * by[2];

	if (key->ip_version == 6)
		hash += word[3] * by[3] + word[4] * by[4] + word[5] * by[5];
	return hash;
}

static __always_inline __u32 hint_tag(__u64 hash)
{
	return (__u32)(hash >> 16) & ~HINT_NUMBER;
}

static __always_inline struct flow_hint *find_hint(__u64 hash)
{
	__u32 set = hash >> config.hint_shift;

	return bpf_map_lookup_elem(&hints, &set);
}

static __always_inline void leave_hint(struct flow_hint *hint, __u64 hash, __u32 number)
{
	hint->second = hint->first;
	hint->first = hint_tag(hash) | number;
}

static __always_inline struct flow_slot *follow(__u32 entry, __u64 hash, const struct flow_key *key)
{
	__u32 number = entry ^ hint_tag(hash);
	struct flow_slot *slot;

	if (number > HINT_NUMBER)
		return NULL;
	slot = bpf_map_lookup_elem(&slots, &number);
	return slot && slot->state == SLOT_LIVE && same_key(&slot->key, key) ? slot : NULL;
}

/* The slot of a flow, or NULL. The key is compared again: the element found may just have been given to another flow. */
static __always_inline struct flow_slot *find_slot(const struct flow_key *key, __u32 *slot_number)
{
	struct flow_slot *slot;
	__u32 *number;

	number = key->ip_version == 4 ? bpf_map_lookup_elem(&index_ipv4, key) : bpf_map_lookup_elem(&index_ipv6, key);
	if (!number)
		return NULL;
	*slot_number = *number;
	slot = bpf_map_lookup_elem(&slots, slot_number);
	return slot && same_key(&slot->key, key) ? slot : NULL;
}

static __always_inline struct flow_slot *take_free_slot(__u32 *number)
{
	__u32 zero = 0, place = 0;
	struct free_head *head = bpf_map_lookup_elem(&free_head, &zero);
	__u32 *entry;
	int got;

	if (!head || head->taken == control.free_tail) /* a full table need not fight for the lock */
		return NULL;
	bpf_spin_lock(&head->lock);
	place = head->taken;
	got = place != control.free_tail;
	if (got)
		head->taken = place + 1;
	bpf_spin_unlock(&head->lock);
	if (!got)
		return NULL;

	place &= config.slot_mask;
	entry = bpf_map_lookup_elem(&free_slots, &place);
	if (!entry)
		return NULL;
	*number = *entry;
	return bpf_map_lookup_elem(&slots, number);
}

/*
 * Whether the frame is for this host, which then routes it. One that a mirror port or a bridge shows goes elsewhere, and
 * the routing table does not know where. The kernel has compared addresses for an skb; for XDP it is done here, where
 * the agent has told the interface's own address.
 */
static __always_inline int is_for_host(void *ctx, enum hook hook, const struct flow_slot *slot)
{
	struct __sk_buff *skb = ctx;
	struct mac_address *own;

	if (hook != HOOK_XDP)
		return skb->pkt_type == PACKET_TO_HOST;
	if (slot->destination_mac_address[0] & MAC_GROUP)
		return 0;
	own = bpf_map_lookup_elem(&own_addresses, &slot->key.interface);
	return !own || same_mac_address(own->octets, slot->destination_mac_address);
}

/* Where the packet goes, as the routing table has it now (once a flow). */
static __always_inline void look_up_route(void *ctx, const struct packet *packet, struct flow_slot *slot)
{
	const struct flow_key *key = &slot->key;
	__u32 flags = key->flow_direction == FLOW_EGRESS ? BPF_FIB_LOOKUP_OUTPUT : 0;
	struct bpf_fib_lookup route = {};
	long outcome;

	route.ifindex = key->interface;
	route.l4_protocol = key->protocol_identifier;
	route.sport = key->source_transport_port;
	route.dport = key->destination_transport_port;
	if (key->ip_version == 4) {
		route.family = ADDRESS_FAMILY_IPV4;
		route.tos = packet->class_of_service;
		route.ipv4_src = key->source_ipv4_address;
		route.ipv4_dst = key->destination_ipv4_address;
	} else {
		route.family = ADDRESS_FAMILY_IPV6;
		route.flowinfo = bpf_htonl((__u32)packet->class_of_service << 20 | packet->flow_label);
		__builtin_memcpy(route.ipv6_src, key->source_ipv6_address, sizeof(route.ipv6_src));
		__builtin_memcpy(route.ipv6_dst, key->destination_ipv6_address, sizeof(route.ipv6_dst));
	}
	outcome = bpf_fib_lookup(ctx, &route, sizeof(route), flags);
	if (outcome != BPF_FIB_LKUP_RET_SUCCESS && outcome != BPF_FIB_LKUP_RET_NO_NEIGH &&
	    outcome != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return;

	if (key->flow_direction == FLOW_INGRESS)
		slot->egress_interface = route.ifindex;
	else if (slot->egress_interface != route.ifindex)
		return; /* sent another way than the table has it: its next hop is not this one */
	if (key->ip_version == 4 && route.family != ADDRESS_FAMILY_IPV4)
		return; /* by an IPv6 gateway (RFC 5549): its address has no place in an IPv4 record */
	if (key->ip_version == 4 && route.ipv4_dst != key->destination_ipv4_address)
		__builtin_memcpy(slot->ip_next_hop_address, &route.ipv4_dst, sizeof(route.ipv4_dst));
	else if (key->ip_version == 6 && !same_ipv6_address(route.ipv6_dst, key->destination_ipv6_address))
		__builtin_memcpy(slot->ip_next_hop_address, route.ipv6_dst, sizeof(route.ipv6_dst));
}

/* The frame is found again from the context: the verifier need not carry a pointer to it through all that lies between. */
static __always_inline void copy_macs(void *ctx, enum hook hook, struct flow_slot *slot)
{
	struct xdp_md *xdp = ctx;
	struct __sk_buff *skb = ctx;
	struct ethhdr *ethernet = (void *)(long)(hook == HOOK_XDP ? xdp->data : skb->data);
	void *end = (void *)(long)(hook == HOOK_XDP ? xdp->data_end : skb->data_end);

	if (hook == HOOK_SKB_NETWORK || (void *)(ethernet + 1) > end)
		return;
	__builtin_memcpy(slot->source_mac_address, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(slot->destination_mac_address, ethernet->h_dest, ETH_ALEN);
}

static __always_inline void fill_slot(void *ctx, enum hook hook, const struct packet *packet,
				      const struct flow_key *key, struct flow_slot *slot)
{
	slot->owner = bpf_get_smp_processor_id();
	slot->key = *key;
	slot->flow_start_ns = exact_ns();
	slot->own.flow_end_ns = slot->flow_start_ns;
	slot->flow_label_ipv6 = packet->flow_label;
	slot->ip_class_of_service = packet->class_of_service;
	slot->ingress_interface = key->flow_direction == FLOW_INGRESS ? key->interface : packet->other_interface;
	slot->egress_interface = key->flow_direction == FLOW_EGRESS ? key->interface : 0;
	copy_macs(ctx, hook, slot);
	if (config.replayed_clock || (key->flow_direction == FLOW_INGRESS && !is_for_host(ctx, hook, slot)))
		return;
	look_up_route(ctx, packet, slot);
}

static __always_inline long publish_slot(const struct flow_key *key, const __u32 *number)
{
	return key->ip_version == 4 ? bpf_map_update_elem(&index_ipv4, key, number, BPF_NOEXIST) :
				      bpf_map_update_elem(&index_ipv6, key, number, BPF_NOEXIST);
}

/* A slot for the first packet of a flow. Another CPU may be opening the same flow: whoever is in the index has it. */
static __always_inline struct flow_slot *open_slot(void *ctx, enum hook hook, const struct packet *packet,
						   const struct flow_key *key, __u32 *number)
{
	struct flow_slot *slot = take_free_slot(number);

	if (!slot)
		return NULL;
	fill_slot(ctx, hook, packet, key, slot);
	if (!publish_slot(key, number)) {
		slot->state = SLOT_LIVE; /* not before: neither a hint nor the agent may come by a slot that can still lose */
		return slot;
	}
	slot->state = SLOT_DISCARDED;
	return find_slot(key, number);
}

/* The slot to count a packet in: by a hint, else by the index, else a new one. NULL when the table is full. */
static __always_inline struct flow_slot *slot_of(void *ctx, enum hook hook, const struct packet *packet,
						 const struct flow_key *key)
{
	__u64 hash = hash_key(key);
	struct flow_hint *hint = find_hint(hash);
	struct flow_slot *slot;
	__u32 number;

	if (!hint)
		return NULL;
	slot = follow(hint->first, hash, key);
	if (slot)
		return slot;
	slot = follow(hint->second, hash, key);
	if (slot)
		return slot;
	slot = find_slot(key, &number);
	if (!slot)
		slot = open_slot(ctx, hook, packet, key, &number);
	if (slot)
		leave_hint(hint, hash, number);
	return slot;
}

static __always_inline void note_extremes(struct flow_count *count, const struct packet *packet)
{
	__u32 longest = packet->octets, shortest = packet->octets;

	if (packet->segments > 1 && packet->segment_size == GSO_BY_FRAGMENTS) {
		longest = packet->octets / packet->segments; /* the mean: each has a length of its own, and none is told */
		shortest = longest;
	} else if (packet->segments > 1) {
		longest = packet->headers_length + packet->segment_size;
		shortest = packet->octets - (packet->segments - 1) * longest; /* the last one */
	}
	if (longest > MAXIMUM_LENGTH)
		longest = MAXIMUM_LENGTH;
	if (shortest > MAXIMUM_LENGTH)
		shortest = MAXIMUM_LENGTH;
	if (count->maximum_ip_total_length < longest)
		count->maximum_ip_total_length = longest;
	if (!count->minimum_ip_total_length || count->minimum_ip_total_length > shortest)
		count->minimum_ip_total_length = shortest;
	if (count->maximum_ttl < packet->ttl)
		count->maximum_ttl = packet->ttl;
	if (!count->packet_delta_count || count->minimum_ttl > packet->ttl)
		count->minimum_ttl = packet->ttl;
}

/*
 * An octet for each flag: storing a one cannot undo what another CPU stores beside it, as reading an octet, adding to
 * it and writing it back can, and an atomic OR is of Linux 5.12. tcp_control_bits of `others` may so miss a flag: it
 * saves nearly all packets the way through here.
 */
static __always_inline void note_flags(struct flow_slot *slot, struct flow_count *count, __u8 flags, int shared)
{
	__u32 i;

	if ((count->tcp_control_bits | flags) == count->tcp_control_bits)
		return;
	count->tcp_control_bits |= flags;
	if (!shared)
		return;
	for (i = 0; i < sizeof(slot->tcp_control_bit_seen); i++)
		if (flags & (1U << i))
			slot->tcp_control_bit_seen[i] = 1;
}

static __always_inline void count_packets(struct flow_slot *slot, const struct packet *packet, __u32 packets,
					  __u32 octets)
{
	int other = slot->owner != (__u16)bpf_get_smp_processor_id();
	struct flow_count *count = other ? &slot->others : &slot->own;
	int shared = other || config.atomic_counters;
	__u64 now;

	if (packet->tcp_flags & (TCP_FIN | TCP_RST)) {
		slot->end_seen = 1;
		now = exact_ns();
	} else {
		now = coarse_ns();
	}
	/*
	 * A 32-bit CPU stores this in two halves. The agent's scan may read one of each: a time that is 4.3 s off. The
	 * records themselves are read when nothing writes any more.
	 */
	if (count->flow_end_ns < now)
		count->flow_end_ns = now;
	note_extremes(count, packet);
	note_flags(slot, count, packet->tcp_flags, shared);
	add(&count->octet_delta_count, octets, shared);
	add(&count->packet_delta_count, packets, shared);
}

/* -1 where even the overflow records are all taken. */
static __always_inline int count_overflow(const struct flow_key *key, __u32 packets, __u32 octets)
{
	struct overflow_key kind = {
		.interface = key->interface,
		.flow_direction = key->flow_direction,
		.ip_version = key->ip_version,
		.protocol_identifier = key->protocol_identifier,
	};
	struct overflow_record *record = bpf_map_lookup_elem(&overflow, &kind);

	if (!record) {
		struct overflow_record empty = {};

		bpf_map_update_elem(&overflow, &kind, &empty, BPF_NOEXIST);
		record = bpf_map_lookup_elem(&overflow, &kind);
	}
	if (!record)
		return -1;
	record->flow_end_ns = coarse_ns();
	__sync_fetch_and_add(&record->octet_total_count, octets);
	__sync_fetch_and_add(&record->packet_total_count, packets);
	return 0;
}

/*
 * What tunnel_headers_length() says. The verifier takes a global function by itself, and once: within the programs it
 * would follow each of their ways through it.
 */
__noinline int read_tunnel(struct __sk_buff *skb, __u32 offset, __u32 protocol, __u32 segment_size)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	return tunnel_headers_length(data + (offset & TUNNEL_OFFSET_MASK), end, protocol, segment_size);
}

/*
 * How long the headers of each segment are, where more than the outermost ones are repeated. In a tunnel that is not
 * known here they are as long as the kernel takes them to be: it has added all but the first segment's to the length
 * at egress. Elsewhere wire_len is the length as it is.
 */
static __always_inline void add_tunnel_headers(struct __sk_buff *skb, const struct flow_key *key,
					       struct packet *packet)
{
	__u32 offset = tunnel_offset(packet, key), length;
	__s32 told;

	length = read_tunnel(skb, offset, key->protocol_identifier, packet->segment_size);
	if (length) {
		packet->headers_length = offset - packet->ip_offset + length;
		return;
	}
	if (packet->segments == 1 || skb->wire_len <= skb->len)
		return;
	told = (skb->wire_len - skb->len) / (packet->segments - 1) - packet->ip_offset;
	if (told > (__s32)packet->headers_length)
		packet->headers_length = told;
}

/*
 * A GSO packet from a guest or a packet socket does not say how many packets it stands for: that takes its headers,
 * so it was seen, and sampled, as one. Now the rest of it is. Returns the packets to meter.
 */
static __always_inline __u32 count_hidden_segments(struct observation_point *point, struct packet *packet,
						   __u32 packets)
{
	__u32 payload = packet->length - packet->ip_offset - packet->headers_length;
	__u32 segments = (payload + packet->segment_size - 1) / packet->segment_size;

	if (segments <= 1 || payload > packet->length)
		return packets;
	packet->segments = segments;
	count(point, PACKETS_SEEN, segments - 1);
	if (config.sampling_rate == 1)
		return segments;
	count(point, PACKETS_SAMPLED_OUT, segments - 1);
	return packets;
}

/* What the parser has not seen of a GSO packet: its inner headers, its segments. Returns the packets to meter. */
static __always_inline __u32 count_segments(struct __sk_buff *skb, struct observation_point *point,
					    const struct flow_key *key, struct packet *packet, __u32 packets)
{
	if (key->protocol_identifier != PROTOCOL_TCP && !packet->fragment)
		add_tunnel_headers(skb, key, packet);
	if (packet->segments == 1)
		packets = count_hidden_segments(point, packet, packets);
	spread_segments(packet);
	return packets;
}

/*
 * Everything a hook does. `depth` VLAN tags have been taken off the frame before it; `network` is the EtherType of
 * what a device without link layer carries.
 */
static __always_inline void meter(void *ctx, enum hook hook, struct packet *packet, struct flow_key *key, int depth,
				  __be16 network)
{
	struct observation_point *point = find_point(key->interface, key->flow_direction);
	__u32 packets = packet->segments, octets;
	enum packet_outcome outcome;
	struct flow_slot *slot;

	if (!point)
		return;
	count(point, PACKETS_SEEN, packets);
	if (config.sampling_rate > 1) {
		packets = sample(point, packets);
		if (packets < packet->segments)
			count(point, PACKETS_SAMPLED_OUT, packet->segments - packets);
		if (!packets)
			return;
	}

	outcome = hook == HOOK_SKB_NETWORK ? parse_network(packet, key, network) :
					     parse_ethernet(packet, key, depth);
	if (outcome != PACKETS_PARSED) {
		count(point, outcome, packets);
		return;
	}
	if (hook != HOOK_XDP && is_gso(packet))
		packets = count_segments(ctx, point, key, packet, packets);
	mask_key(key);
	octets = packet->octets;
	if (packets < packet->segments)
		octets = (__u64)octets * packets / packet->segments;

	slot = slot_of(ctx, hook, packet, key);
	if (slot)
		count_packets(slot, packet, packets, octets);
	else
		count(point, count_overflow(key, packets, octets) ? PACKETS_UNCOUNTED : PACKETS_OVERFLOW, packets);
}

/* Run by the agent, to learn what a jiffy is worth. */
SEC("xdp")
int read_clocks(struct xdp_md *ctx)
{
	control.sampled_jiffies = bpf_jiffies64();
	control.sampled_ns = bpf_ktime_get_ns();
	return XDP_PASS;
}

/* Loaded with BPF_F_XDP_HAS_FRAGS where the kernel knows it: the section "xdp.frags" could not be loaded elsewhere. */
SEC("xdp")
int xdp_ingress(struct xdp_md *ctx)
{
	struct packet packet = {
		.cursor = { (void *)(long)ctx->data, (void *)(long)ctx->data_end },
		.segments = 1,
	};
	struct flow_key key = { .interface = ctx->ingress_ifindex, .flow_direction = FLOW_INGRESS };

	meter(ctx, HOOK_XDP, &packet, &key, 0, 0);
	return XDP_PASS;
}

/* The skb may hold its headers in fragments, and stand for several packets of which it alone knows the number. */
static __always_inline void meter_skb(struct __sk_buff *skb, enum flow_direction direction, enum hook hook)
{
	struct packet packet = {
		.length = skb->len,
		.segments = skb->gso_segs ?: 1,
		.segment_size = skb->gso_segs == 1 ? 0 : skb->gso_size,
		.other_interface = direction == FLOW_EGRESS ? skb->ingress_ifindex : 0,
	};
	struct flow_key key = { .interface = skb->ifindex, .flow_direction = direction };
	__s64 linear = (void *)(long)skb->data_end - (void *)(long)skb->data;
	__s64 needed = skb->protocol == bpf_htons(ETH_P_IP) ? LINEAR_IPV4 : LINEAR_OTHERS;
	int depth = 0;

	if (linear < needed && linear < skb->len)
		bpf_skb_pull_data(skb, skb->len < LINEAR_OCTETS ? skb->len : LINEAR_OCTETS);
	packet.cursor.position = (void *)(long)skb->data;
	packet.cursor.end = (void *)(long)skb->data_end;
	if (skb->vlan_present)
		push_vlan(&key, depth++, skb->vlan_tci);
	meter(skb, hook, &packet, &key, depth, skb->protocol);
}

SEC("tc")
int tc_ingress(struct __sk_buff *skb)
{
	meter_skb(skb, FLOW_INGRESS, HOOK_SKB);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int tc_egress(struct __sk_buff *skb)
{
	meter_skb(skb, FLOW_EGRESS, HOOK_SKB);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int tc_ingress_network(struct __sk_buff *skb)
{
	meter_skb(skb, FLOW_INGRESS, HOOK_SKB_NETWORK);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int tc_egress_network(struct __sk_buff *skb)
{
	meter_skb(skb, FLOW_EGRESS, HOOK_SKB_NETWORK);
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "GPL";
