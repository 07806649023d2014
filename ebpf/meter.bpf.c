// SPDX-License-Identifier: GPL-2.0-only
/*
 * The Metering Process in the kernel. A packet's way: its hook at the end of this file, meter(), the parser
 * in parse.bpf.h, the slot of its flow. No packet is changed, and whatever the outcome the next program runs.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "details.bpf.h"
#include "flow.h"
#include "inner.bpf.h"
#include "key.bpf.h"
#include "link.bpf.h"
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
#define LINEAR_TUNNEL 192 /* two Ethernet and IP headers, a tunnel's, and TCP's; more only where options are many */
#define TUNNEL_OFFSET_MASK 0x7fff /* for the verifier, as IPV6_EXTENSIONS_MASK */
#define LOOPBACK_INTERFACE 1 /* LOOPBACK_IFINDEX in <net/flow.h> */
#define PACKET_TO_HOST 0 /* of skb->pkt_type: PACKET_HOST in <linux/if_packet.h> */
#define MAC_GROUP 0x01 /* of its first octet: multicast or broadcast (IEEE 802 8.2) */

/* Which context a program has, and what its frames begin with. A constant in each hook. */
enum hook {
	HOOK_XDP,
	HOOK_SKB,
	HOOK_SKB_NETWORK, /* a device without link layer: the IP header comes first */
};

static __always_inline void *frame_of(void *ctx, enum hook hook)
{
	struct xdp_md *xdp = ctx;
	struct __sk_buff *skb = ctx;

	return (void *)(long)(hook == HOOK_XDP ? xdp->data : skb->data);
}

static __always_inline void *end_of(void *ctx, enum hook hook)
{
	struct xdp_md *xdp = ctx;
	struct __sk_buff *skb = ctx;

	return (void *)(long)(hook == HOOK_XDP ? xdp->data_end : skb->data_end);
}

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

static __always_inline struct flow_slot *follow(__u32 entry, __u64 hash, const struct flow_key *key, int extended,
					       __u32 *number)
{
	struct flow_slot *slot;

	*number = entry ^ hint_tag(hash);
	if (*number > HINT_NUMBER)
		return NULL;
	slot = bpf_map_lookup_elem(&slots, number);
	return slot && slot->state == SLOT_LIVE && same_key(&slot->key, key, extended) ? slot : NULL;
}

/* The slot of a flow, or NULL. The key is compared again: the element found may just have been given to another flow. */
static __always_inline struct flow_slot *find_slot(const struct flow_key *key, int extended, __u32 *slot_number)
{
	struct flow_slot *slot;
	__u32 *number;

	number = key->ip_version == 4 ? bpf_map_lookup_elem(&index_ipv4, key) : bpf_map_lookup_elem(&index_ipv6, key);
	if (!number)
		return NULL;
	*slot_number = *number;
	slot = bpf_map_lookup_elem(&slots, slot_number);
	return slot && same_key(&slot->key, key, extended) ? slot : NULL;
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
	if (slot->key.destination_mac_address[0] & MAC_GROUP)
		return 0;
	own = bpf_map_lookup_elem(&own_addresses, &slot->key.interface);
	return !own || same_mac_address(own->octets, slot->key.destination_mac_address);
}

/*
 * The kernel's answer for a packet on its way in. For one on its way out it has to be asked as the kernel was: by where
 * the packet came in, which is the loopback for the host's own. With the interface that it leaves by, of several next
 * hops the first would be told (fib_select_path() chooses none), and rules by interface would not be seen. But a host
 * that forwards nothing answers no other question.
 */
static __always_inline long find_route(void *ctx, const struct packet *packet, const struct flow_key *key,
				       struct bpf_fib_lookup *route)
{
	long outcome;

	route->ifindex = key->interface;
	if (key->flow_direction == FLOW_EGRESS)
		route->ifindex = packet->other_interface ?: LOOPBACK_INTERFACE;
	outcome = bpf_fib_lookup(ctx, route, sizeof(*route), 0);
	if (key->flow_direction == FLOW_INGRESS || outcome != BPF_FIB_LKUP_RET_FWD_DISABLED)
		return outcome;
	route->ifindex = key->interface;
	return bpf_fib_lookup(ctx, route, sizeof(*route), BPF_FIB_LOOKUP_OUTPUT);
}

/* Where the packet goes, as the routing table has it now (once a flow). */
static __always_inline void look_up_route(void *ctx, const struct packet *packet, struct flow_slot *slot)
{
	const struct flow_key *key = &slot->key;
	int own = key->flow_direction == FLOW_EGRESS && !packet->other_interface; /* labelled after it was routed */
	struct bpf_fib_lookup route = {};
	struct way way;
	long outcome;

	way = way_is_in_key() ? way_of(key) : packet->way;
	route.l4_protocol = way.protocol;
	if (has_ports(way.protocol)) {
		route.sport = way.source_port;
		route.dport = way.destination_port;
	}
	if (key->ip_version == 4) {
		route.family = ADDRESS_FAMILY_IPV4;
		route.tos = packet->class_of_service;
		route.ipv4_src = way.source[0];
		route.ipv4_dst = key->destination_ipv4_address;
	} else {
		route.family = ADDRESS_FAMILY_IPV6;
		route.flowinfo = bpf_htonl((__u32)packet->class_of_service << 20 | (own ? 0 : packet->flow_label));
		__builtin_memcpy(route.ipv6_src, way.source, sizeof(route.ipv6_src));
		__builtin_memcpy(route.ipv6_dst, key->destination_ipv6_address, sizeof(route.ipv6_dst));
	}
	outcome = find_route(ctx, packet, key, &route);
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
static __always_inline void copy_macs(void *ctx, enum hook hook, struct flow_key *key)
{
	struct ethhdr *ethernet = frame_of(ctx, hook);

	if (hook == HOOK_SKB_NETWORK || (void *)(ethernet + 1) > end_of(ctx, hook))
		return;
	__builtin_memcpy(key->source_mac_address, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(key->destination_mac_address, ethernet->h_dest, ETH_ALEN);
}

/* The key as it is configured. What is read anew of the frame is read where it is wanted only. */
static __always_inline void finish_key(void *ctx, enum hook hook, struct packet *packet, struct flow_key *key)
{
	if (config.key_fields == KEY_USUAL)
		return;
	if (!way_is_in_key())
		packet->way = way_of(key);
	mask_key(key, packet->class_of_service);
	if (!key_is_extended())
		return;
	copy_macs(ctx, hook, key);
	key->flow_label_ipv6 = packet->flow_label;
	mask_extended(key);
}

static __always_inline void fill_slot(void *ctx, enum hook hook, const struct packet *packet,
				      const struct flow_key *key, struct flow_slot *slot)
{
	slot->owner = bpf_get_smp_processor_id();
	slot->key = *key;
	slot->flow_start_ns = exact_ns();
	slot->own.flow_end_ns = slot->flow_start_ns;
	slot->key.flow_label_ipv6 = packet->flow_label;
	slot->ip_class_of_service = packet->class_of_service;
	slot->ingress_interface = key->flow_direction == FLOW_INGRESS ? key->interface : packet->other_interface;
	slot->egress_interface = key->flow_direction == FLOW_EGRESS ? key->interface : 0;
	copy_macs(ctx, hook, &slot->key);
	if (!(config.key_fields & KEY_DESTINATION_ADDRESS)) /* the flow's packets may go different ways */
		return;
	if (packet->outer) /* the tunnel's own packet is routed, not the inner one */
		return;
	if (config.replayed_clock || (key->flow_direction == FLOW_INGRESS && !is_for_host(ctx, hook, slot)))
		return;
	look_up_route(ctx, packet, slot);
}

static __always_inline long publish_slot(const struct flow_key *key, const __u32 *number)
{
	return key->ip_version == 4 ? bpf_map_update_elem(&index_ipv4, key, number, BPF_NOEXIST) :
				      bpf_map_update_elem(&index_ipv6, key, number, BPF_NOEXIST);
}

static __always_inline struct flow_detail *find_detail(__u32 number)
{
	return bpf_map_lookup_elem(&details, &number);
}

/* Of a flow's first packet, before its slot is LIVE. The functions by themselves are as read_tunnel(). */
static __always_inline void note_first(void *frame, void *end, __u32 number, __u32 encapsulation, __u32 outer, __u32 at)
{
	struct flow_detail *detail = find_detail(number);

	if (!detail)
		return;
	if (config.details & DETAIL_MPLS && encapsulation)
		note_labels(frame, end, encapsulation, detail);
	if (config.details & DETAIL_FRAGMENTS)
		note_fragment(frame, end, at, detail);
	if (!(config.details & DETAIL_TUNNEL) || !outer)
		return;
	note_outer_addresses(frame, end, outer, detail);
}

__noinline int note_first_xdp(struct xdp_md *xdp, __u32 number, __u32 encapsulation, __u32 outer, __u32 at)
{
	note_first((void *)(long)xdp->data, (void *)(long)xdp->data_end, number, encapsulation, outer, at);
	return 0;
}

__noinline int note_first_skb(struct __sk_buff *skb, __u32 number, __u32 encapsulation, __u32 outer, __u32 at)
{
	note_first((void *)(long)skb->data, (void *)(long)skb->data_end, number, encapsulation, outer, at);
	return 0;
}

__noinline int note_tunnel_xdp(struct xdp_md *xdp, __u32 number, __u32 from)
{
	struct flow_detail *detail = find_detail(number);

	return detail ? note_tunnel((void *)(long)xdp->data, (void *)(long)xdp->data_end, from, detail) : FOUND_NOTHING;
}

__noinline int note_tunnel_skb(struct __sk_buff *skb, __u32 number, __u32 from)
{
	struct flow_detail *detail = find_detail(number);

	return detail ? note_tunnel((void *)(long)skb->data, (void *)(long)skb->data_end, from, detail) : FOUND_NOTHING;
}

static __always_inline __u32 note_each(void *frame, void *end, __u32 number, __u32 at, __u32 told)
{
	struct flow_detail *detail = find_detail(number);

	return detail ? note_options(frame, end, at, told, detail, config.details) : 0;
}

__noinline int note_each_xdp(struct xdp_md *xdp, __u32 number, __u32 at, __u32 told)
{
	return note_each((void *)(long)xdp->data, (void *)(long)xdp->data_end, number, at, told);
}

__noinline int note_each_skb(struct __sk_buff *skb, __u32 number, __u32 at, __u32 told)
{
	return note_each((void *)(long)skb->data, (void *)(long)skb->data_end, number, at, told);
}

__noinline int note_tcp_xdp(struct xdp_md *xdp, __u32 number, __u32 at, __u32 stop)
{
	struct flow_detail *detail = find_detail(number);

	if (detail)
		note_tcp((void *)(long)xdp->data, (void *)(long)xdp->data_end, at, stop, detail, config.details);
	return 0;
}

__noinline int note_tcp_skb(struct __sk_buff *skb, __u32 number, __u32 at, __u32 stop)
{
	struct flow_detail *detail = find_detail(number);

	if (detail)
		note_tcp((void *)(long)skb->data, (void *)(long)skb->data_end, at, stop, detail, config.details);
	return 0;
}

/* found() of the flow's IP header. */
static __always_inline __u32 network_of(const struct packet *packet, const struct flow_key *key)
{
	return found(key->ip_version == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6), packet->ip_offset);
}

static __always_inline void detail_of_first(void *ctx, enum hook hook, const struct packet *packet,
					    const struct flow_key *key, __u32 number)
{
	__u32 there;

	if (!(config.details & (DETAIL_MPLS | DETAIL_FRAGMENTS | DETAIL_TUNNEL)))
		return;
	if (hook == HOOK_XDP)
		note_first_xdp(ctx, number, packet->encapsulation, packet->outer, network_of(packet, key));
	else
		note_first_skb(ctx, number, packet->encapsulation, packet->outer, network_of(packet, key));
	if (!(config.details & DETAIL_TUNNEL) || !packet->outer)
		return;
	there = hook == HOOK_XDP ? note_tunnel_xdp(ctx, number, packet->outer) :
				   note_tunnel_skb(ctx, number, packet->outer);
	if (there == FOUND_NOTHING || there == network_of(packet, key))
		return;
	if (hook == HOOK_XDP)
		note_tunnel_xdp(ctx, number, there);
	else
		note_tunnel_skb(ctx, number, there);
}

static __always_inline void detail_of_each(void *ctx, enum hook hook, const struct packet *packet,
					   const struct flow_key *key, __u32 number, __u32 packets)
{
	struct flow_detail *detail;
	__u32 at;

	if (!config.details)
		return;
	if (config.details & (DETAIL_OPTIONS | DETAIL_TCP)) {
		at = network_of(packet, key);
		at = hook == HOOK_XDP ? note_each_xdp(ctx, number, at, packet->told) :
					note_each_skb(ctx, number, at, packet->told);
		if (at && hook == HOOK_XDP)
			note_tcp_xdp(ctx, number, at, packet->ip_offset + packet->told);
		else if (at)
			note_tcp_skb(ctx, number, at, packet->ip_offset + packet->told);
	}
	if (!(config.details & DETAIL_TCP_COUNTS) || !packet->tcp_flags)
		return;
	detail = find_detail(number);
	if (detail)
		count_flags(detail, packet->tcp_flags, packets);
}

/* A slot for the first packet of a flow. Another CPU may be opening the same flow: whoever is in the index has it. */
static __always_inline struct flow_slot *open_slot(void *ctx, enum hook hook, const struct packet *packet,
						   const struct flow_key *key, __u32 *number)
{
	struct flow_slot *slot = take_free_slot(number);

	if (!slot)
		return NULL;
	fill_slot(ctx, hook, packet, key, slot);
	detail_of_first(ctx, hook, packet, key, *number);
	if (!publish_slot(key, number)) {
		slot->state = SLOT_LIVE; /* not before: neither a hint nor the agent may come by a slot that can still lose */
		return slot;
	}
	slot->state = SLOT_DISCARDED;
	return find_slot(key, key_is_extended(), number);
}

/* The slot to count a packet in, and its number: by a hint, else by the index, else a new one. NULL when all are taken. */
static __always_inline struct flow_slot *slot_of(void *ctx, enum hook hook, const struct packet *packet,
						 const struct flow_key *key, __u32 *number)
{
	int extended = key_is_extended(); /* asked once: reading a constant costs as much as any reading */
	__u64 hash = hash_key(key, extended);
	struct flow_hint *hint = find_hint(hash);
	struct flow_slot *slot;

	if (!hint)
		return NULL;
	slot = follow(hint->first, hash, key, extended, number);
	if (slot)
		return slot;
	slot = follow(hint->second, hash, key, extended, number);
	if (slot)
		return slot;
	slot = find_slot(key, extended, number);
	if (!slot)
		slot = open_slot(ctx, hook, packet, key, number);
	if (slot)
		leave_hint(hint, hash, *number);
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
 * Behind tags, PPPoE and MPLS, by functions of their own: see read_tunnel(). found() of what is there, and the VLAN IDs
 * above it.
 */
#define LINK_VLAN 32
#define LINK_CUSTOMER_VLAN 44
#define LINK_TOO_SHORT ~0ULL

static __always_inline __u64 find_network(void *frame, void *end, __u32 from, int depth)
{
	struct packet packet = { .cursor = { frame + (from & FOUND_OFFSET), end } };
	__be16 type = from >> FOUND_TYPE;
	struct flow_key tags = {};

	if (parse_vlans(&packet, &tags, &type, depth) < 0 || parse_encapsulation(&packet.cursor, &type) < 0)
		return LINK_TOO_SHORT;
	return found(type, packet.cursor.position - frame) | (__u64)tags.vlan_id << LINK_VLAN |
	       (__u64)tags.dot1q_customer_vlan_id << LINK_CUSTOMER_VLAN;
}

__noinline __u64 find_network_xdp(struct xdp_md *xdp, __u32 from)
{
	return find_network((void *)(long)xdp->data, (void *)(long)xdp->data_end, from, VLAN_TAGS);
}

__noinline __u64 find_network_skb(struct __sk_buff *skb, __u32 from, int depth)
{
	void *frame = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	return depth ? find_network(frame, end, from, 1) : find_network(frame, end, from, 0); /* constants: loops end */
}

/* Go on at what a function of its own has found; the EtherType there. */
static __always_inline __be16 move_to(void *ctx, enum hook hook, struct packet *packet, __u32 found_there)
{
	packet->ip_offset = found_there & FOUND_OFFSET;
	packet->cursor.position = frame_of(ctx, hook) + packet->ip_offset;
	return found_there >> FOUND_TYPE;
}

__noinline int step_inside_xdp(struct xdp_md *xdp, __u32 from, __u32 segment_size)
{
	struct descent descent = {};

	return step_inside((void *)(long)xdp->data, (void *)(long)xdp->data_end, from, segment_size, &descent);
}

__noinline int step_inside_skb(struct __sk_buff *skb, __u32 from, __u32 segment_size)
{
	struct descent descent = {};

	return step_inside((void *)(long)skb->data, (void *)(long)skb->data_end, from, segment_size, &descent);
}

/* found() of the innermost IP header, two tunnels deep at most; FOUND_NOTHING where the packet is in none. */
static __always_inline __u32 look_inside(void *ctx, enum hook hook, struct packet *packet, __u32 from)
{
	struct __sk_buff *skb = ctx;
	__u32 there, deeper;

	if (hook == HOOK_XDP) {
		there = step_inside_xdp(ctx, from, 0);
		deeper = there == FOUND_NOTHING ? there : step_inside_xdp(ctx, there, 0);
		return deeper == FOUND_NOTHING ? there : deeper;
	}
	if (packet->cursor.end - frame_of(ctx, hook) < LINEAR_TUNNEL && packet->cursor.end - frame_of(ctx, hook) < skb->len)
		bpf_skb_pull_data(skb, skb->len < LINEAR_TUNNEL ? skb->len : LINEAR_TUNNEL);
	there = step_inside_skb(ctx, from, packet->segment_size);
	deeper = there == FOUND_NOTHING ? there : step_inside_skb(ctx, there, packet->segment_size);
	return deeper == FOUND_NOTHING ? there : deeper;
}

/* To the header that the packet's flow is of; its EtherType. All ways go on with the same, for the verifier: nothing known. */
static __always_inline __be16 enter_tunnels(void *ctx, enum hook hook, struct packet *packet, __be16 type)
{
	__u32 from = found(type, packet->ip_offset), there = FOUND_NOTHING;

	if ((type == bpf_htons(ETH_P_IP) || type == bpf_htons(ETH_P_IPV6)) && may_be_tunnel(&packet->cursor, type))
		there = look_inside(ctx, hook, packet, from);
	packet->outer = forget(there == FOUND_NOTHING ? 0 : from);
	packet->cursor.end = end_of(ctx, hook);
	return move_to(ctx, hook, packet, forget(there == FOUND_NOTHING ? from : there));
}

/* Frames whose IP header does not follow at once; -1 where one is too short. */
static __always_inline int parse_link(void *ctx, enum hook hook, struct packet *packet, struct flow_key *key, int depth,
				      __be16 *type)
{
	__u64 there;

	packet->encapsulation = found(*type, packet->ip_offset);
	there = hook == HOOK_XDP ? find_network_xdp(ctx, packet->encapsulation) :
				   find_network_skb(ctx, packet->encapsulation, depth);
	if (there == LINK_TOO_SHORT)
		return -1;
	key->vlan_id |= there >> LINK_VLAN & VLAN_ID;
	key->dot1q_customer_vlan_id |= there >> LINK_CUSTOMER_VLAN & VLAN_ID;
	*type = move_to(ctx, hook, packet, there);
	return 0;
}

/*
 * From the frame to the key. `depth` and `type` as meter() has them. An skb has its first tag beside it: those in the frame
 * are rare, and left to parse_link().
 */
static __always_inline enum packet_outcome parse(void *ctx, enum hook hook, struct packet *packet,
						 struct flow_key *key, int depth, __be16 type)
{
	if (hook != HOOK_SKB_NETWORK && parse_ethernet(packet, key, &type, hook == HOOK_XDP ? 0 : VLAN_TAGS) < 0)
		return PACKETS_TOO_SHORT;
	if (type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6)) {
		if (!is_encapsulation(type) && (hook == HOOK_SKB_NETWORK || !is_vlan(type)))
			return PACKETS_NOT_IP;
		if (parse_link(ctx, hook, packet, key, depth, &type) < 0)
			return PACKETS_TOO_SHORT;
	}
	if (!config.tunnels)
		return parse_network(packet, key, type, ALIGNED_TO_FOUR);
	type = enter_tunnels(ctx, hook, packet, type);
	return parse_network(packet, key, type, ALIGNED_TO_TWO);
}

/*
 * Everything a hook does. `depth` VLAN tags have been taken off the frame before it; `network` is the EtherType of
 * what a device without link layer carries.
 */
static __always_inline void meter(void *ctx, enum hook hook, struct packet *packet, struct flow_key *key, int depth,
				  __be16 network)
{
	struct observation_point *point = find_point(key->interface, key->flow_direction);
	__u32 packets = packet->segments, octets, number;
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

	outcome = parse(ctx, hook, packet, key, depth, network);
	if (outcome != PACKETS_PARSED) {
		count(point, outcome, packets);
		return;
	}
	if (hook != HOOK_XDP) {
		if (config.details) /* without them there are few ways on from here */
			packet->octets = forget(packet->octets);
		if (is_gso(packet))
			packets = count_segments(ctx, point, key, packet, packets);
		packets = forget(packets);
		packet->segments = forget(packet->segments);
	}
	finish_key(ctx, hook, packet, key);
	octets = packet->octets;
	if (packets < packet->segments)
		octets = (__u64)octets * packets / packet->segments;

	slot = slot_of(ctx, hook, packet, key, &number);
	if (slot) {
		detail_of_each(ctx, hook, packet, key, number, packets);
		count_packets(slot, packet, packets, octets);
		return;
	}
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
		.segments = forget(skb->gso_segs ?: 1),
		.segment_size = forget(skb->gso_segs == 1 ? 0 : skb->gso_size),
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
	depth = skb->vlan_present;
	key.vlan_id = skb->vlan_tci & VLAN_ID & -depth;
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
