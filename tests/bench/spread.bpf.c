// SPDX-License-Identifier: GPL-2.0-only
/* For the benchmark: makes one frame into packets of many flows, and hands each to the program under test. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#define SOURCE_ADDRESS 26 /* in an Ethernet frame with an IPv4 header */

const volatile __u32 flow_mask = 65535;
const volatile __u32 in_order = 0; /* one after the other, not at random */
__u64 state = 88172645463325252ULL;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

SEC("xdp.frags")
int spread(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 *address = data + SOURCE_ADDRESS;

	if ((void *)(address + 1) > end)
		return XDP_ABORTED;
	if (in_order) {
		state++;
	} else { /* xorshift64 (Marsaglia) */
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
	}
	*address = (__u32)state & flow_mask;
	bpf_tail_call(ctx, &target, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int nothing(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("tc")
int nothing_tc(struct __sk_buff *skb)
{
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "GPL";
