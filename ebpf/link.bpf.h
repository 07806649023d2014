/* SPDX-License-Identifier: GPL-2.0-only */
/* From the first octet of a frame to its IP header: Ethernet, VLAN tags, PPPoE, MPLS. */
#ifndef XFLOWD_LINK_BPF_H
#define XFLOWD_LINK_BPF_H

#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "packet.bpf.h"

#define VLAN_TAGS 2
#define VLAN_ID 0x0fff
#define PPPOE_VERSION_TYPE 0x11 /* the only ones there are (RFC 2516 4) */
#define PPPOE_SESSION_DATA 0
#define MPLS_LABELS 10 /* of more than these the packet is not looked for */
#define MPLS_BOTTOM 0x01 /* of the third octet */

/* PPP's protocol numbers (RFC 1332 2, RFC 5072 3, RFC 3032 4.3) */
enum ppp_protocol {
	PPP_IPV4 = 0x0021,
	PPP_IPV6 = 0x0057,
	PPP_MPLS_UNICAST = 0x0281,
	PPP_MPLS_MULTICAST = 0x0283,
};

struct vlan_tag {
	__be16 tci;
	__be16 type;
};

/* RFC 2516 4, and the protocol field of PPP, which is never compressed there (7). */
struct pppoe_header {
	__u8 version_type;
	__u8 code;
	__be16 session;
	__be16 length;
	__be16 protocol;
};

static __always_inline int is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

static __always_inline int is_mpls(__be16 type)
{
	return type == bpf_htons(ETH_P_MPLS_UC) || type == bpf_htons(ETH_P_MPLS_MC);
}

static __always_inline int is_encapsulation(__be16 type)
{
	return type == bpf_htons(ETH_P_PPP_SES) || is_mpls(type);
}

/* The outermost tag becomes vlanId, the one behind it dot1qCustomerVlanId: one may have been taken off before. */
static __always_inline void push_vlan(struct flow_key *key, int depth, __u16 tci)
{
	if (depth == 0)
		key->vlan_id = tci & VLAN_ID;
	else if (depth == 1)
		key->dot1q_customer_vlan_id = tci & VLAN_ID;
}

/* From the tag of this depth to the EtherType of what they carry; -1 where the frame ends within one. */
static __always_inline int parse_vlans(struct packet *packet, struct flow_key *key, __be16 *type, int depth)
{
	struct vlan_tag *tag;

	for (; depth < VLAN_TAGS && is_vlan(*type); depth++) {
		tag = take(&packet->cursor, sizeof(*tag));
		if (!tag)
			return -1;
		push_vlan(key, depth, bpf_ntohs(tag->tci));
		packet->ip_offset += sizeof(*tag);
		*type = tag->type;
	}
	return 0;
}

/* The header and its tags; `depth` of them have been taken off the frame and pushed already. -1 as above. */
static __always_inline int parse_ethernet(struct packet *packet, struct flow_key *key, __be16 *type, int depth)
{
	struct ethhdr *ethernet = take(&packet->cursor, sizeof(*ethernet));

	if (!ethernet)
		return -1;
	packet->ip_offset = sizeof(*ethernet);
	*type = ethernet->h_proto;
	return parse_vlans(packet, key, type, depth);
}

/* The EtherType of what PPP carries; 0 where it is none of those known. */
static __always_inline __be16 type_of_ppp(__be16 protocol)
{
	if (protocol == bpf_htons(PPP_IPV4))
		return bpf_htons(ETH_P_IP);
	if (protocol == bpf_htons(PPP_IPV6))
		return bpf_htons(ETH_P_IPV6);
	if (protocol == bpf_htons(PPP_MPLS_UNICAST) || protocol == bpf_htons(PPP_MPLS_MULTICAST))
		return bpf_htons(ETH_P_MPLS_UC);
	return 0;
}

static __always_inline int parse_pppoe(struct cursor *cursor, __be16 *type)
{
	struct pppoe_header *pppoe = take(cursor, sizeof(*pppoe));

	if (!pppoe)
		return -1;
	*type = 0;
	if (pppoe->version_type == PPPOE_VERSION_TYPE && pppoe->code == PPPOE_SESSION_DATA)
		*type = type_of_ppp(pppoe->protocol);
	return 0;
}

/* The IP version that a packet begins with, as an EtherType: below a stack of labels nothing else tells it. */
static __always_inline int parse_first_nibble(struct cursor *cursor, __be16 *type)
{
	__u8 *first = cursor->position;

	if ((void *)(first + 1) > cursor->end)
		return -1;
	*type = 0;
	if (*first >> 4 == 4)
		*type = bpf_htons(ETH_P_IP);
	else if (*first >> 4 == 6)
		*type = bpf_htons(ETH_P_IPV6);
	return 0;
}

/* To the bottom of the stack (RFC 3032 2.1). */
static __always_inline int parse_mpls(struct cursor *cursor, __be16 *type)
{
	__u8 *entry;
	int i;

	*type = 0;
	for (i = 0; i < MPLS_LABELS; i++) {
		entry = take(cursor, 4);
		if (!entry)
			return -1;
		if (entry[2] & MPLS_BOTTOM)
			return parse_first_nibble(cursor, type);
	}
	return 0;
}

/* Behind Ethernet and its tags: PPPoE, MPLS, or MPLS in PPPoE. 0 in `type` for what is not IP; -1 as above. */
static __always_inline int parse_encapsulation(struct cursor *cursor, __be16 *type)
{
	if (*type == bpf_htons(ETH_P_PPP_SES) && parse_pppoe(cursor, type) < 0)
		return -1;
	return is_mpls(*type) ? parse_mpls(cursor, type) : 0;
}

#endif
