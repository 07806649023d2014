/* SPDX-License-Identifier: GPL-2.0-only */
/* Which context a program has, and where its frame lies in it. */
#ifndef XFLOWD_HOOK_BPF_H
#define XFLOWD_HOOK_BPF_H

#include <linux/bpf.h>

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

#endif
