/* SPDX-License-Identifier: GPL-2.0-only */
/* A packet added to its flow, or to the overflow records where the flow has found no slot. */
#ifndef XFLOWD_COUNT_BPF_H
#define XFLOWD_COUNT_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "clock.bpf.h"
#include "flow.h"
#include "key.bpf.h"
#include "maps.bpf.h"
#include "packet.bpf.h"
#include "point.bpf.h"

#define MAXIMUM_LENGTH 65535 /* an IPv6 packet can have 40 octets more */
#define GSO_BY_FRAGMENTS 0xffff /* segment_size of SCTP: its packets were put together from whole ones */

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
		if (flow_is_connection())
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

#endif
