/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long the headers are that each segment of a GSO packet in a tunnel repeats: the outer ones, those of the tunnel,
 * and the inner ones up to the payload that is cut. A flow is that of the outer headers all the same.
 *
 * The kernel tells what it knows of this in wire_len, but at egress only, and right in tunnels from Linux 6.17 on.
 */
#ifndef XFLOWD_TUNNEL_BPF_H
#define XFLOWD_TUNNEL_BPF_H

#include "flow.h"
#include "link.bpf.h"
#include "packet.bpf.h"
#include "parse.bpf.h"

#define GRE_CHECKSUM 0x8000
#define GRE_KEY 0x2000
#define GRE_SEQUENCE 0x1000
#define GRE_VERSION 0x0007
#define GENEVE_OPTIONS 0x3f /* words of four octets; the two bits above are the version, 0 */
#define INNER_EXTENSIONS_MASK 0x3fff /* with TUNNEL_OFFSET_MASK before it still within what the verifier lets be read */
#define VXLAN_NETWORK 0x08 /* this header has a network identifier */

/* RFC 2784 2.1, RFC 2890 2 */
struct gre_header {
	__be16 flags;
	__be16 type;
};

/* A UDP header, and what VXLAN (RFC 7348 5) and GENEVE (RFC 8926 3.4) have in common. */
struct udp_tunnel_header {
	__be16 udp[4];
	__u8 first; /* flags of VXLAN; version and length of options of GENEVE */
	__u8 flags; /* of GENEVE */
	__be16 type; /* of GENEVE */
	__be16 network[2];
};

/* As the headers of packet.bpf.h: of an inner frame. */
struct inner_ethernet {
	__be16 addresses[6];
	__be16 type;
};

/* The EtherType of what the tunnel carries; 0 where it is none of those known. */
static __always_inline __be16 parse_gre(struct cursor *cursor)
{
	struct gre_header *gre = take(cursor, sizeof(*gre));
	__be16 flags;
	__u32 words;

	if (!gre)
		return 0;
	/* Not swapped: the verifier of Linux 6.1 takes what has been swapped for any number, and so for any length. */
	flags = gre->flags;
	words = !!(flags & bpf_htons(GRE_CHECKSUM)) + !!(flags & bpf_htons(GRE_KEY)) +
		!!(flags & bpf_htons(GRE_SEQUENCE));
	return !(flags & bpf_htons(GRE_VERSION)) && take(cursor, words * 4) ? gre->type : 0;
}

/* By its header and not by its port, which can be any: that what follows is a packet is seen there. */
static __always_inline __be16 parse_udp_tunnel(struct cursor *cursor)
{
	struct udp_tunnel_header *header = take(cursor, sizeof(*header));

	if (!header)
		return 0;
	if (header->type == bpf_htons(ETH_P_TEB))
		return take(cursor, (header->first & GENEVE_OPTIONS) * 4) ? header->type : 0;
	return header->first & VXLAN_NETWORK ? bpf_htons(ETH_P_TEB) : 0;
}

static __always_inline __be16 parse_tunnel(struct cursor *cursor, __u8 protocol)
{
	switch (protocol) {
	case PROTOCOL_IPV4:
		return bpf_htons(ETH_P_IP);
	case PROTOCOL_IPV6:
		return bpf_htons(ETH_P_IPV6);
	case PROTOCOL_GRE:
		return parse_gre(cursor);
	case PROTOCOL_UDP:
		return parse_udp_tunnel(cursor);
	default:
		return 0;
	}
}

/* An inner frame with two tags at most; the EtherType behind them, 0 where it is not whole. */
static __always_inline __be16 parse_inner_ethernet(struct cursor *cursor)
{
	struct inner_ethernet *ethernet = take(cursor, sizeof(*ethernet));
	__be16 *tag, type;
	int depth;

	if (!ethernet)
		return 0;
	type = ethernet->type;
	for (depth = 0; depth < VLAN_TAGS && is_vlan(type); depth++) {
		tag = take(cursor, 2 * sizeof(*tag));
		if (!tag)
			return 0;
		type = tag[1];
	}
	return type;
}

/*
 * The protocol of the inner packet, or -1. One that is as short as a segment is not cut, but whole in it: these are
 * datagrams of a program that keeps a tunnel, joined by their outer headers. A length of 0 is BIG TCP's.
 */
static __always_inline int parse_inner_ipv4(struct cursor *cursor, __u32 segment_size)
{
	struct ipv4_header *ip = take(cursor, sizeof(*ip));
	__u32 length, words;

	if (!ip)
		return -1;
	length = bpf_ntohs(ip->total_length);
	words = ip->version_length & 0x0f;
	if (ip->version_length >> 4 != 4 || words < 5 || (length && length <= segment_size))
		return -1;
	return take(cursor, words * 4 - sizeof(*ip)) ? ip->protocol : -1;
}

static __always_inline int parse_inner_ipv6(struct cursor *cursor, __u32 segment_size)
{
	struct ipv6_header *ip = take(cursor, sizeof(*ip));
	__u32 length;
	__u8 protocol;

	if (!ip)
		return -1;
	length = bpf_ntohs(ip->payload_length);
	if (*(__u8 *)ip >> 4 != 6 || (length && length + sizeof(*ip) <= segment_size))
		return -1;
	protocol = ip->next_header;
	cursor->position += skip_extensions(ip + 1, cursor->end, &protocol, INNER_EXTENSIONS_MASK);
	return protocol;
}

/* Octets of the transport header, which need not be in the frame as a whole; 0 where it is none that GSO cuts. */
static __always_inline __u32 inner_transport_length(struct cursor *cursor, int protocol)
{
	struct tcp_header *tcp;

	if (protocol == PROTOCOL_UDP)
		return 8;
	if (protocol != PROTOCOL_TCP)
		return 0;
	tcp = take(cursor, sizeof(*tcp));
	return tcp ? (tcp->data_offset >> 4) * 4 : 0;
}

/*
 * Octets from `begin`, where the outer IP header ends, to the payload that is cut: 0 where that is no tunnel, or none
 * that is known here.
 */
static __always_inline __u32 tunnel_headers_length(void *begin, void *end, __u8 outer, __u32 segment_size)
{
	struct cursor cursor = { begin, end };
	__be16 type = parse_tunnel(&cursor, outer);
	__u32 transport;
	int protocol = -1;
	void *inner;

	if (type == bpf_htons(ETH_P_TEB))
		type = parse_inner_ethernet(&cursor);
	if (type == bpf_htons(ETH_P_IP))
		protocol = parse_inner_ipv4(&cursor, segment_size);
	else if (type == bpf_htons(ETH_P_IPV6))
		protocol = parse_inner_ipv6(&cursor, segment_size);
	if (protocol < 0)
		return 0;
	inner = cursor.position;
	transport = inner_transport_length(&cursor, protocol);
	return transport ? (__u32)(inner - begin) + transport : 0;
}

/* From the start of the frame to where the outer IP header ends: the parser has counted the outer UDP header too. */
static __always_inline __u32 tunnel_offset(const struct packet *packet, const struct flow_key *key)
{
	return packet->ip_offset + packet->headers_length - (key->protocol_identifier == PROTOCOL_UDP ? 8 : 0);
}

/* A GSO packet stands for several: each has the headers, and its length field tells nothing (BIG TCP has 0). */
static __always_inline void spread_segments(struct packet *packet)
{
	if (packet->segments > 1)
		packet->octets = packet->length - packet->ip_offset +
				 (packet->segments - 1) * packet->headers_length;
}

#endif
