/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The details of a packet, noted beside its slot, where any are chosen. What reads the frame anew is a function of its own,
 * one for each kind of context: the verifier takes it once, as read_tunnel().
 */
#ifndef XFLOWD_NOTE_BPF_H
#define XFLOWD_NOTE_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "details.bpf.h"
#include "flow.h"
#include "hook.bpf.h"
#include "maps.bpf.h"
#include "packet.bpf.h"

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

/* Of most packets nothing is noted where options are not: window and scale are those of a SYN. */
static __always_inline int wants_headers(const struct packet *packet)
{
	return config.details & DETAIL_OPTIONS || (config.details & DETAIL_TCP && packet->tcp_flags & TCP_SYN);
}

static __always_inline void detail_of_each(void *ctx, enum hook hook, const struct packet *packet,
					   const struct flow_key *key, __u32 number, __u32 packets)
{
	struct flow_detail *detail;
	__u32 at;

	if (!config.details)
		return;
	if (wants_headers(packet)) {
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

#endif
