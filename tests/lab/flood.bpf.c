// SPDX-License-Identifier: GPL-2.0-only
/* For tests: makes each run of one frame a flow of its own, and hands it to the program under test. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define SOURCE_ADDRESS 26 /* in an Ethernet frame with an IPv4 header; behind it the destination, then the ports */

/* The flows made so far: the next one's source address. Each process that floods loads an object of its own. */
__u32 next_flow = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

static __always_inline int number(void *data, void *end)
{
	__u32 *address = data + SOURCE_ADDRESS;

	if ((void *)(address + 1) > end)
		return 0;
	*address = next_flow++;
	return 1;
}

/* With fragments, as the program that it calls: the kernel lets one call the other only if both know them. */
SEC("xdp.frags")
int flood_xdp(struct xdp_md *ctx)
{
	if (number((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		bpf_tail_call(ctx, &target, 0);
	return XDP_ABORTED;
}

SEC("tc")
int flood_tc(struct __sk_buff *skb)
{
	if (number((void *)(long)skb->data, (void *)(long)skb->data_end))
		bpf_tail_call(skb, &target, 0);
	return -2;
}

char _license[] SEC("license") = "GPL";
