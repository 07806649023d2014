/* SPDX-License-Identifier: GPL-2.0-only */
/* The slot of a flow: by a hint, by the index, or a free one, which then gets what is told of the first packet alone. */
#ifndef XFLOWD_SLOT_BPF_H
#define XFLOWD_SLOT_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "clock.bpf.h"
#include "flow.h"
#include "hook.bpf.h"
#include "key.bpf.h"
#include "maps.bpf.h"
#include "note.bpf.h"
#include "packet.bpf.h"
#include "route.bpf.h"

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

static __always_inline void fill_slot(void *ctx, enum hook hook, const struct packet *packet,
				      const struct flow_key *key, struct flow_slot *slot)
{
	slot->owner = bpf_get_smp_processor_id();
	slot->key = *key;
	slot->flow_start_ns = exact_ns();
	slot->own.flow_end_ns = slot->flow_start_ns;
	slot->key.flow_label_ipv6 = packet->flow_label;
	slot->ip_class_of_service = packet->class_of_service;
	if (key->flow_direction == FLOW_INGRESS)
		slot->ingress_interface = key->interface;
	else
		slot->egress_interface = key->interface;
	if (key->flow_direction == FLOW_EGRESS && config.key_fields & KEY_SOURCE_ADDRESS) /* else from anywhere */
		slot->ingress_interface = packet->other_interface;
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

#endif
