// SPDX-License-Identifier: GPL-2.0-only
/*
 * The Metering Process in the kernel. A packet's way: its hook at the end of this file, meter(), and what that calls: its
 * key (walk.bpf.h), the slot of its flow (slot.bpf.h), the counters there (count.bpf.h). No packet is changed, and whatever
 * the outcome the next program runs.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "count.bpf.h"
#include "flow.h"
#include "hook.bpf.h"
#include "key.bpf.h"
#include "maps.bpf.h"
#include "note.bpf.h"
#include "packet.bpf.h"
#include "point.bpf.h"
#include "segments.bpf.h"
#include "slot.bpf.h"
#include "walk.bpf.h"

#define LINEAR_OCTETS 128 /* to pull of an skb whose headers lie elsewhere: enough for all but the strangest */
#define LINEAR_IPV4 54 /* Ethernet, IP and TCP headers: with as much in place, nothing is pulled, for that copies */
#define LINEAR_OTHERS 74

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
