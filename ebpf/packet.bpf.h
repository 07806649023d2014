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

/*
 * Where a header was found by a function of its own, as one number: its EtherType above, its offset from the start of
 * the frame below. The verifier knows nothing of the offset any more, so it is masked before it is used.
 */
#define FOUND_TYPE 16
#define FOUND_OFFSET 0x0fff /* what lies behind it is not looked for */
#define FOUND_NOTHING 0U

/* By what a route is looked up, beside the destination. The source of an IPv4 packet is in the first word. */
struct way {
	__be32 source[4];
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
};

struct packet {
	struct cursor cursor;
	__u32 length; /* of the whole frame, of a GSO packet only */
	__u32 segments; /* packets on the wire: more than one in a GSO packet */
	__u32 segment_size; /* payload of each but the last; 0 where it is one packet */
	__u32 octets; /* IP octets on the wire, of all segments */
	__u32 told; /* by the packet's own length field, of a GSO packet more than there is: see length_told() */
	__u32 ip_offset; /* from the start of the frame to the IP header of the flow */
	__u32 headers_length; /* IP and transport headers, in a tunnel the inner ones too: each segment has them */
	__u32 encapsulation; /* found(): where tags, PPPoE or MPLS begin; 0 where there are none */
	__u32 outer; /* found(): the outermost IP header, of a flow in a tunnel; else 0 */
	__u32 other_interface; /* at egress: where the packet came in; else 0 */
	__u32 flow_label;
	struct way way; /* where the key is not to have all of it: see way_is_in_key() */
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

/* How headers lie. In a tunnel it is at any multiple of two: nothing longer is read at once. */
enum alignment {
	ALIGNED_TO_FOUR,
	ALIGNED_TO_TWO,
};

/* These three have no member of more than two octets, so that they lie anywhere that a header does. */
struct ipv4_header {
	__u8 version_length;
	__u8 class_of_service;
	__be16 total_length;
	__be16 identification;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be16 source[2];
	__be16 destination[2];
};

struct ipv6_header {
	__be16 version_class_label[2];
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__be16 source[8];
	__be16 destination[8];
};

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be16 numbers[4];
	__u8 data_offset;
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

/* Four octets, as they lie. */
static __always_inline __be32 word(const void *at, enum alignment alignment)
{
	union {
		__be16 halves[2];
		__be32 whole;
	} both;

	if (alignment == ALIGNED_TO_FOUR)
		return *(const __be32 *)at;
	both.halves[0] = ((const __be16 *)at)[0];
	both.halves[1] = ((const __be16 *)at)[1];
	return both.whole;
}

/* An IPv6 address; where it goes is a multiple of four. */
static __always_inline void copy_address(void *to, const void *from, enum alignment alignment)
{
	__be32 *words = to;

	words[0] = word(from, alignment);
	words[1] = word(from + 4, alignment);
	words[2] = word(from + 8, alignment);
	words[3] = word(from + 12, alignment);
}

/*
 * The value, of which the verifier knows nothing any more: it would follow each known one by itself through all that comes.
 * Half a word on the stack is not remembered, unless it is 0.
 */
static __always_inline __u32 forget(__u32 value)
{
	volatile __u32 place[2] __attribute__((aligned(8)));

	place[1] = value + 1;
	return place[1] - 1;
}

static __always_inline __u32 found(__be16 type, __u32 offset)
{
	return (__u32)type << FOUND_TYPE | (offset & FOUND_OFFSET);
}

/* A GSO packet has no length field that is true of its segments, and may not say how many they are. */
static __always_inline int is_gso(const struct packet *packet)
{
	return packet->segment_size != 0;
}

/*
 * Octets of the packet by its own length field, which says nothing of a GSO packet: more than there can be then. Without
 * a branch, of which the verifier would follow both ways through all that comes.
 */
static __always_inline __u32 length_told(const struct packet *packet)
{
	return packet->octets + (packet->segment_size << 15);
}

#endif
