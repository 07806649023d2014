/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs keep. The agent sets the sizes that depend on the host and its configuration before it loads. */
#ifndef XFLOWD_MAPS_BPF_H
#define XFLOWD_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"

#define DEFAULT_FLOWS 65536
#define OVERFLOW_RECORDS 4096
#define METERED_INTERFACES 1024

const volatile struct meter_config config SEC(".rodata.config") = {
	.key_fields = KEY_USUAL,
	.sampling_rate = 1,
	.slot_mask = DEFAULT_FLOWS - 1,
};

volatile struct meter_control control SEC(".data.control") = {};

/* Flow key to slot number: as much of struct flow_key as FLOW_KEY_..._SIZE says. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DEFAULT_FLOWS);
	__uint(key_size, FLOW_KEY_IPV4_SIZE);
	__uint(value_size, sizeof(__u32));
} index_ipv4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DEFAULT_FLOWS);
	__uint(key_size, FLOW_KEY_IPV6_SIZE);
	__uint(value_size, sizeof(__u32));
} index_ipv6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, DEFAULT_FLOWS);
	__type(key, __u32);
	__type(value, struct flow_slot);
} slots SEC(".maps");

/* As many as there are slots where config.details says that any are kept. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_detail);
} details SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * DEFAULT_FLOWS);
	__type(key, __u32);
	__type(value, struct flow_hint);
} hints SEC(".maps");

/*
 * Numbers of free slots, a ring as large as the table: the agent writes them and moves control.free_tail, programs
 * take them and move free_head. A number taken is read after the lock is given back; its place cannot be written
 * again before, because every other number would have to go round first, and a grace period lies in each round.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, DEFAULT_FLOWS);
	__type(key, __u32);
	__type(value, __u32);
} free_slots SEC(".maps");

struct free_head {
	struct bpf_spin_lock lock;
	__u32 taken; /* slots ever taken out of the ring, modulo 2^32 */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct free_head);
} free_head SEC(".maps");

/* [CPU][direction][interface bucket] */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct observation_point);
} observation_points SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OVERFLOW_RECORDS);
	__type(key, struct overflow_key);
	__type(value, struct overflow_record);
} overflow SEC(".maps");

struct mac_address {
	__u8 octets[6];
	__u8 pad[2];
};

/* Interface to its own MAC address, from the agent: XDP runs before the kernel looks for whom a frame is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, METERED_INTERFACES);
	__type(key, __u32);
	__type(value, struct mac_address);
} own_addresses SEC(".maps");

#endif
