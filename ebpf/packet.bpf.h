/* SPDX-License-Identifier: GPL-2.0-only */
/* A packet as its hook hands it over, what its headers say beside the key, and the cursor that they are read by. */
#ifndef XFLOWD_PACKET_BPF_H
#define XFLOWD_PACKET_BPF_H

#include <linux/if_ether.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TCP_FIN 0x01
#define TCP_RST 0x04

/* Next Header values of extension headers, of the transports that begin with two ports, and of tunnels. */
enum ip_protocol {
	PROTOCOL_HOP_BY_HOP = 0,
	PROTOCOL_ICMP = 1,
	PROTOCOL_IPV4 = 4,
	PROTOCOL_TCP = 6,
	PROTOCOL_UDP = 17,
	PROTOCOL_DCCP = 33,
	PROTOCOL_IPV6 = 41,
	PROTOCOL_ROUTING = 43,
	PROTOCOL_FRAGMENT = 44,
	PROTOCOL_GRE = 47,
	PROTOCOL_AUTHENTICATION = 51,
	PROTOCOL_ICMPV6 = 58,
	PROTOCOL_DESTINATION_OPTIONS = 60,
	PROTOCOL_SCTP = 132,
	PROTOCOL_UDPLITE = 136,
};

struct cursor {
	void *position;
	void *end;
};

struct packet {
	struct cursor cursor;
	__u32 length; /* of the whole frame, of a GSO packet only */
	__u32 segments; /* packets on the wire: more than one in a GSO packet */
	__u32 segment_size; /* payload of each but the last; 0 where it is one packet */
	__u32 octets; /* IP octets on the wire, of all segments */
	__u32 ip_offset; /* from the start of the frame */
	__u32 headers_length; /* IP and transport headers, in a tunnel the inner ones too: each segment has them */
	__u32 other_interface; /* at egress: where the packet came in; else 0 */
	__u32 flow_label;
	__u8 ttl;
	__u8 class_of_service;
	__u8 tcp_flags;
	__u8 fragment; /* not the first: no transport header */
};

/* The next `size` octets, or NULL where the frame ends first. */
static __always_inline void *take(struct cursor *cursor, __u32 size)
{
	void *header = cursor->position;

	if (header + size > cursor->end)
		return NULL;
	cursor->position = header + size;
	return header;
}

static __always_inline int is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* A GSO packet has no length field that is true of its segments, and may not say how many they are. */
static __always_inline int is_gso(const struct packet *packet)
{
	return packet->segment_size != 0;
}

#endif
