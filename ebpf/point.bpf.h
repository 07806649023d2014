/* SPDX-License-Identifier: GPL-2.0-only */
/* A place where packets are seen, an interface and a direction: its counters, one a CPU, and its sampling. */
#ifndef XFLOWD_POINT_BPF_H
#define XFLOWD_POINT_BPF_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "maps.bpf.h"

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

#endif
