/* SPDX-License-Identifier: GPL-2.0-only */
/* What time it is: to the nanosecond, or to a tick. */
#ifndef XFLOWD_CLOCK_BPF_H
#define XFLOWD_CLOCK_BPF_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "maps.bpf.h"

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

#endif
