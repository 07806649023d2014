/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a flow goes from here, as the routing table has it when its first packet is seen. */
#ifndef XFLOWD_ROUTE_BPF_H
#define XFLOWD_ROUTE_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "hook.bpf.h"
#include "key.bpf.h"
#include "maps.bpf.h"
#include "packet.bpf.h"

#define ADDRESS_FAMILY_IPV4 2
#define ADDRESS_FAMILY_IPV6 10
#define LOOPBACK_INTERFACE 1 /* LOOPBACK_IFINDEX in <net/flow.h> */
#define PACKET_TO_HOST 0 /* of skb->pkt_type: PACKET_HOST in <linux/if_packet.h> */
#define MAC_GROUP 0x01 /* of its first octet: multicast or broadcast (IEEE 802 8.2) */

static __always_inline int same_ipv6_address(const __u32 *a, const void *b)
{
	const __u32 *other = b;

	return !((a[0] ^ other[0]) | (a[1] ^ other[1]) | (a[2] ^ other[2]) | (a[3] ^ other[3]));
}

static __always_inline int same_mac_address(const void *a, const void *b)
{
	const __u16 *one = a, *other = b;

	return !((one[0] ^ other[0]) | (one[1] ^ other[1]) | (one[2] ^ other[2]));
}

/*
 * Whether the frame is for this host, which then routes it. One that a mirror port or a bridge shows goes elsewhere, and
 * the routing table does not know where. The kernel has compared addresses for an skb; for XDP it is done here, where
 * the agent has told the interface's own address.
 */
static __always_inline int is_for_host(void *ctx, enum hook hook, const struct flow_slot *slot)
{
	struct __sk_buff *skb = ctx;
	struct mac_address *own;

	if (hook != HOOK_XDP)
		return skb->pkt_type == PACKET_TO_HOST;
	if (slot->key.destination_mac_address[0] & MAC_GROUP)
		return 0;
	own = bpf_map_lookup_elem(&own_addresses, &slot->key.interface);
	return !own || same_mac_address(own->octets, slot->key.destination_mac_address);
}

/*
 * The kernel's answer for a packet on its way in. For one on its way out it has to be asked as the kernel was: by where
 * the packet came in, which is the loopback for the host's own. With the interface that it leaves by, of several next
 * hops the first would be told (fib_select_path() chooses none), and rules by interface would not be seen. But a host
 * that forwards nothing answers no other question.
 */
static __always_inline long find_route(void *ctx, const struct packet *packet, const struct flow_key *key,
				       struct bpf_fib_lookup *route)
{
	long outcome;

	route->ifindex = key->interface;
	if (key->flow_direction == FLOW_EGRESS)
		route->ifindex = packet->other_interface ?: LOOPBACK_INTERFACE;
	outcome = bpf_fib_lookup(ctx, route, sizeof(*route), 0);
	if (key->flow_direction == FLOW_INGRESS || outcome != BPF_FIB_LKUP_RET_FWD_DISABLED)
		return outcome;
	route->ifindex = key->interface;
	return bpf_fib_lookup(ctx, route, sizeof(*route), BPF_FIB_LOOKUP_OUTPUT);
}

/* Where the packet goes, as the routing table has it now (once a flow). */
static __always_inline void look_up_route(void *ctx, const struct packet *packet, struct flow_slot *slot)
{
	const struct flow_key *key = &slot->key;
	int own = key->flow_direction == FLOW_EGRESS && !packet->other_interface; /* labelled after it was routed */
	struct bpf_fib_lookup route = {};
	struct way way;
	long outcome;

	way = way_is_in_key() ? way_of(key) : packet->way;
	route.l4_protocol = way.protocol;
	if (has_ports(way.protocol)) {
		route.sport = way.source_port;
		route.dport = way.destination_port;
	}
	if (key->ip_version == 4) {
		route.family = ADDRESS_FAMILY_IPV4;
		route.tos = packet->class_of_service;
		route.ipv4_src = way.source[0];
		route.ipv4_dst = key->destination_ipv4_address;
	} else {
		route.family = ADDRESS_FAMILY_IPV6;
		route.flowinfo = bpf_htonl((__u32)packet->class_of_service << 20 | (own ? 0 : packet->flow_label));
		__builtin_memcpy(route.ipv6_src, way.source, sizeof(route.ipv6_src));
		__builtin_memcpy(route.ipv6_dst, key->destination_ipv6_address, sizeof(route.ipv6_dst));
	}
	outcome = find_route(ctx, packet, key, &route);
	if (outcome != BPF_FIB_LKUP_RET_SUCCESS && outcome != BPF_FIB_LKUP_RET_NO_NEIGH &&
	    outcome != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return;

	if (key->flow_direction == FLOW_INGRESS)
		slot->egress_interface = route.ifindex;
	else if (slot->egress_interface != route.ifindex)
		return; /* sent another way than the table has it: its next hop is not this one */
	if (key->ip_version == 4 && route.family != ADDRESS_FAMILY_IPV4)
		return; /* by an IPv6 gateway (RFC 5549): its address has no place in an IPv4 record */
	if (key->ip_version == 4 && route.ipv4_dst != key->destination_ipv4_address)
		__builtin_memcpy(slot->ip_next_hop_address, &route.ipv4_dst, sizeof(route.ipv4_dst));
	else if (key->ip_version == 6 && !same_ipv6_address(route.ipv6_dst, key->destination_ipv6_address))
		__builtin_memcpy(slot->ip_next_hop_address, route.ipv6_dst, sizeof(route.ipv6_dst));
}

#endif
