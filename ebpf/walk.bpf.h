/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the frame to the key of its flow: the parsers of link.bpf.h, inner.bpf.h and parse.bpf.h, as a hook calls them. Those
 * that few packets need are functions of their own, one for each kind of context: the verifier takes each once, as
 * read_tunnel().
 */
#ifndef XFLOWD_WALK_BPF_H
#define XFLOWD_WALK_BPF_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "hook.bpf.h"
#include "inner.bpf.h"
#include "link.bpf.h"
#include "maps.bpf.h"
#include "packet.bpf.h"
#include "parse.bpf.h"

#define LINEAR_TUNNEL 192 /* two Ethernet and IP headers, a tunnel's, and TCP's; more only where options are many */

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

#endif
