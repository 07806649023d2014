/* SPDX-License-Identifier: GPL-2.0-only */
/* Which of a packet's fields make its flow: the key masked, hashed and compared. What is not configured costs nothing. */
#ifndef XFLOWD_KEY_BPF_H
#define XFLOWD_KEY_BPF_H

#include "flow.h"
#include "hook.bpf.h"
#include "maps.bpf.h"
#include "packet.bpf.h"

#define KEY_EXTENDED (KEY_SOURCE_MAC | KEY_DESTINATION_MAC | KEY_FLOW_LABEL)
#define KEY_WAY (KEY_SOURCE_ADDRESS | KEY_PROTOCOL | KEY_SOURCE_PORT | KEY_DESTINATION_PORT) /* struct way */
#define EXTENDED_WORD 6 /* of eight octets: where the extended part begins */

static __always_inline int key_is_extended(void)
{
	return (config.key_fields & KEY_EXTENDED) != 0;
}

static __always_inline int way_is_in_key(void)
{
	return (config.key_fields & KEY_WAY) == KEY_WAY;
}

/*
 * Whether a flow is one direction of one connection. Of a key that has less, FIN and RST end a connection and not the flow.
 */
static __always_inline int flow_is_connection(void)
{
	return way_is_in_key() && config.key_fields & KEY_DESTINATION_ADDRESS;
}

/* Of a key that is not masked. */
static __always_inline struct way way_of(const struct flow_key *key)
{
	struct way way = {
		.source_port = key->source_transport_port,
		.destination_port = key->destination_transport_port,
		.protocol = key->protocol_identifier,
	};

	if (key->ip_version == 4)
		way.source[0] = key->source_ipv4_address;
	else
		__builtin_memcpy(way.source, key->source_ipv6_address, sizeof(way.source));
	return way;
}

/* Whether the two ports of a key are ports: of ICMP they are not, and the kernel does not choose a route by them. */
static __always_inline int has_ports(__u8 protocol)
{
	return protocol != PROTOCOL_ICMP && protocol != PROTOCOL_ICMPV6;
}

static __always_inline void mask_addresses(struct flow_key *key, __u32 fields)
{
	if (!(fields & KEY_SOURCE_ADDRESS)) {
		if (key->ip_version == 4)
			key->source_ipv4_address = 0;
		else
			__builtin_memset(key->source_ipv6_address, 0, sizeof(key->source_ipv6_address));
	}
	if (!(fields & KEY_DESTINATION_ADDRESS)) {
		if (key->ip_version == 4)
			key->destination_ipv4_address = 0;
		else
			__builtin_memset(key->destination_ipv6_address, 0, sizeof(key->destination_ipv6_address));
	}
}

/* All but the extended part. */
static __always_inline void mask_key(struct flow_key *key, __u8 class_of_service)
{
	__u32 fields = config.key_fields;

	mask_addresses(key, fields);
	if (!(fields & KEY_PROTOCOL))
		key->protocol_identifier = 0;
	if (!(fields & KEY_SOURCE_PORT))
		key->source_transport_port = 0;
	if (!(fields & KEY_DESTINATION_PORT))
		key->destination_transport_port = 0;
	if (!(fields & KEY_VLAN))
		key->vlan_id = 0;
	if (!(fields & KEY_CUSTOMER_VLAN))
		key->dot1q_customer_vlan_id = 0;
	if (fields & KEY_CLASS_OF_SERVICE)
		key->ip_class_of_service = class_of_service;
}

static __always_inline void mask_extended(struct flow_key *key)
{
	__u64 *word = (void *)key;

	word[EXTENDED_WORD] &= config.extended_mask[0];
	word[EXTENDED_WORD + 1] &= config.extended_mask[1];
}

/* The frame is found again from the context: the verifier need not carry a pointer to it through all that lies between. */
static __always_inline void copy_macs(void *ctx, enum hook hook, struct flow_key *key)
{
	struct ethhdr *ethernet = frame_of(ctx, hook);

	if (hook == HOOK_SKB_NETWORK || (void *)(ethernet + 1) > end_of(ctx, hook))
		return;
	__builtin_memcpy(key->source_mac_address, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(key->destination_mac_address, ethernet->h_dest, ETH_ALEN);
}

/* The key as it is configured. What is read anew of the frame is read where it is wanted only. */
static __always_inline void finish_key(void *ctx, enum hook hook, struct packet *packet, struct flow_key *key)
{
	if (config.key_fields == KEY_USUAL)
		return;
	if (!way_is_in_key())
		packet->way = way_of(key);
	mask_key(key, packet->class_of_service);
	if (!key_is_extended())
		return;
	copy_macs(ctx, hook, key);
	key->flow_label_ipv6 = packet->flow_label;
	mask_extended(key);
}

/* `kept` is a slot's: of its extended part only the masked bits belong to the key. */
static __always_inline int same_extended(const __u64 *kept, const __u64 *key)
{
	return !(((kept[EXTENDED_WORD] ^ key[EXTENDED_WORD]) & config.extended_mask[0]) |
		 ((kept[EXTENDED_WORD + 1] ^ key[EXTENDED_WORD + 1]) & config.extended_mask[1]));
}

static __always_inline int same_key(const struct flow_key *kept, const struct flow_key *key, int extended)
{
	const __u64 *x = (const void *)kept, *y = (const void *)key;

	if ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]))
		return 0;
	if (kept->ip_version != 4 && ((x[3] ^ y[3]) | (x[4] ^ y[4]) | (x[5] ^ y[5])))
		return 0;
	return !extended || same_extended(x, y);
}

/* Multilinear hashing (Carter and Wegman): the products do not wait for each other. */
static __always_inline __u64 hash_key(const struct flow_key *key, int extended)
{
	const volatile __u64 *by = config.hash_multipliers;
	const __u64 *word = (const void *)key;
	__u64 hash = word[0] * by[0] + word[1] * by[1] + word[2] * by[2];

	if (key->ip_version == 6)
		hash += word[3] * by[3] + word[4] * by[4] + word[5] * by[5];
	if (extended)
		hash += word[6] * by[6] + word[7] * by[7];
	return hash;
}

#endif
