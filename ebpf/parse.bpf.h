/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the IP header to the key of its flow. One function a header: it checks that the header is whole, moves the cursor
 * behind it and returns it, or NULL.
 */
#ifndef XFLOWD_PARSE_BPF_H
#define XFLOWD_PARSE_BPF_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "link.bpf.h"
#include "packet.bpf.h"

#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV6_FRAGMENT_OFFSET 0xfff8
#define IPV6_MORE_FRAGMENTS 0x0001
#define IPV6_FRAGMENT (IPV6_FRAGMENT_OFFSET | IPV6_MORE_FRAGMENTS)
#define IPV6_EXTENSION_HEADERS 8 /* more of them than this, and the next one is taken for the protocol */
#define IPV6_EXTENSIONS_MASK 0x7fff /* eight headers of 2,048 octets fit */

struct extension_header {
	__u8 next;
	__u8 length;
	__be16 fragment_offset; /* of a Fragment header (RFC 8200 4.5) */
};

struct ports {
	__be16 source;
	__be16 destination;
};

static __always_inline enum packet_outcome parse_ipv4(struct packet *packet, struct flow_key *key,
						      enum alignment alignment)
{
	struct ipv4_header *ip = take(&packet->cursor, sizeof(*ip));
	__u32 header_length;

	if (!ip)
		return PACKETS_TOO_SHORT;
	header_length = (ip->version_length & 0x0f) * 4;
	/*
	 * What the header says and not what is there: of a frame of the least length the rest is padding, of one cut
	 * short by a capture the packet was whole on the wire. Every meter of flows counts so, and collectors compare.
	 */
	packet->octets = bpf_ntohs(ip->total_length);
	packet->told = length_told(packet);
	if (ip->version_length >> 4 != 4 || header_length < sizeof(*ip) || packet->told < header_length)
		return PACKETS_MALFORMED;
	if (header_length > sizeof(*ip) && !take(&packet->cursor, header_length - sizeof(*ip)))
		return PACKETS_TOO_SHORT;

	packet->headers_length = header_length;
	key->ip_version = 4;
	key->protocol_identifier = ip->protocol;
	key->source_ipv4_address = word(ip->source, alignment);
	key->destination_ipv4_address = word(ip->destination, alignment);
	packet->ttl = ip->ttl;
	packet->class_of_service = ip->class_of_service;
	packet->fragment = !!(ip->fragment & bpf_htons(IPV4_FRAGMENT_OFFSET));
	return PACKETS_PARSED;
}

/*
 * How to step over each extension header: (length & mask) + plus units of 2^shift octets. A table, because the
 * verifier follows every branch of a loop, but not the values of a table.
 */
struct extension_kind {
	__u8 length_mask;
	__u8 plus; /* 0: not an extension header */
	__u8 shift;
	__u8 seen; /* its bit in ipv6ExtensionHeaders (IANA 64) */
	__be16 offset_mask; /* what of fragment_offset makes it a later fragment */
	__be16 fragment_mask; /* and a fragment at all */
};

static const volatile struct extension_kind extension_kinds[256] = {
	[PROTOCOL_HOP_BY_HOP] = { 0xff, 1, 3, 1, 0, 0 },
	[PROTOCOL_ROUTING] = { 0xff, 1, 3, 5, 0, 0 },
	[PROTOCOL_FRAGMENT] = { 0, 1, 3, 4, bpf_htons(IPV6_FRAGMENT_OFFSET), bpf_htons(IPV6_FRAGMENT) },
	[PROTOCOL_AUTHENTICATION] = { 0xff, 2, 2, 14, 0, 0 }, /* RFC 4302 2.2 */
	[PROTOCOL_DESTINATION_OPTIONS] = { 0xff, 1, 3, 0, 0, 0 },
};

/*
 * From the fixed header to the transport. Headers that do not fit into the frame end the walk: the packet still
 * belongs to a flow, of the last protocol that is known. The offset is masked for the verifier again: all lengths
 * look the same to it then.
 */
static __always_inline void walk_extensions(struct packet *packet, struct flow_key *key, __u8 protocol)
{
	const volatile struct extension_kind *kind;
	void *begin = packet->cursor.position;
	struct extension_header *header;
	__u32 told = packet->told;
	__be16 fragment = 0;
	__u32 offset = 0;
	int i;

	for (i = 0; i < IPV6_EXTENSION_HEADERS; i++) {
		kind = &extension_kinds[protocol];
		header = begin + offset;
		if (!kind->plus || fragment || (void *)(header + 1) > packet->cursor.end)
			break;
		if (sizeof(struct ipv6_header) + offset + sizeof(*header) > told)
			break;
		fragment = header->fragment_offset & kind->offset_mask;
		offset += ((header->length & kind->length_mask) + kind->plus) << (kind->shift & 3);
		offset &= IPV6_EXTENSIONS_MASK;
		protocol = header->next;
	}
	key->protocol_identifier = protocol;
	packet->fragment = !!fragment;
	packet->headers_length += offset;
	packet->cursor.position = begin + offset;
}

/*
 * The same in the header of a tunnel's packet, for what is no fragment: octets from `begin`, where that header ends, to the
 * protocol that is looked for. Where a fragment, AH, or what is not there comes first, `protocol` stays that.
 */
static __always_inline __u32 skip_extensions(const void *begin, const void *end, __u8 *protocol, __u32 mask)
{
	const volatile struct extension_kind *kind;
	const struct extension_header *header;
	__u32 offset = 0;
	int i;

	for (i = 0; i < IPV6_EXTENSION_HEADERS; i++) {
		kind = &extension_kinds[*protocol];
		header = begin + offset;
		if (!kind->plus || *protocol == PROTOCOL_AUTHENTICATION || (void *)(header + 1) > end)
			break;
		if (header->fragment_offset & kind->fragment_mask)
			break;
		offset += ((header->length & kind->length_mask) + kind->plus) << (kind->shift & 3);
		offset &= mask;
		*protocol = header->next;
	}
	return offset;
}

/* What BIG TCP over IPv6 puts before TCP in a packet of more than 64 KB (RFC 2675 2). */
struct jumbo_header {
	__u8 next;
	__u8 length;
	__u8 option;
	__u8 option_length;
	__be16 jumbo_payload_length[2];
};

#define OPTION_JUMBO_PAYLOAD 0xc2

/* Of a GSO packet; others of payload length 0 are jumbograms. */
static __always_inline int has_jumbo_header(const struct ipv6_header *ip, const void *end)
{
	const struct jumbo_header *jumbo = (const void *)(ip + 1);

	if (ip->payload_length || ip->next_header != PROTOCOL_HOP_BY_HOP)
		return 0;
	if ((const void *)(jumbo + 1) > end || jumbo->next != PROTOCOL_TCP || jumbo->length)
		return 0;
	return jumbo->option == OPTION_JUMBO_PAYLOAD && jumbo->option_length == sizeof(jumbo->jumbo_payload_length);
}

/* Kernels from 5.19 on write the header between their own layers only: no segment of the packet has it. */
static __always_inline void drop_jumbo_header(struct packet *packet, const struct ipv6_header *ip)
{
	if (!has_jumbo_header(ip, packet->cursor.end))
		return;
	packet->headers_length -= sizeof(struct jumbo_header);
	packet->length -= sizeof(struct jumbo_header);
}

/*
 * Payload length 0 before hop-by-hop options says that one of these has the length: a jumbogram (RFC 2675 3), of which
 * the option is not looked for. A GSO packet like that is BIG TCP's.
 */
static __always_inline enum packet_outcome parse_ipv6(struct packet *packet, struct flow_key *key,
						      enum alignment alignment)
{
	struct ipv6_header *ip = take(&packet->cursor, sizeof(*ip));
	__u32 first;

	if (!ip)
		return PACKETS_TOO_SHORT;
	first = bpf_ntohl(word(ip, alignment));
	if (first >> 28 != 6)
		return PACKETS_MALFORMED;
	if (!(ip->payload_length | packet->segment_size) && ip->next_header == PROTOCOL_HOP_BY_HOP)
		return PACKETS_JUMBOGRAM;
	packet->octets = bpf_ntohs(ip->payload_length) + sizeof(*ip);
	packet->told = length_told(packet);
	packet->ttl = ip->hop_limit;
	packet->class_of_service = first >> 20;
	packet->flow_label = first & 0xfffff;
	packet->headers_length = sizeof(*ip);

	key->ip_version = 6;
	copy_address(key->source_ipv6_address, ip->source, alignment);
	copy_address(key->destination_ipv6_address, ip->destination, alignment);
	walk_extensions(packet, key, ip->next_header);
	drop_jumbo_header(packet, ip);
	return PACKETS_PARSED;
}

/* The next `size` octets behind the IP headers, or NULL: what the frame has behind the packet's end is padding. */
static __always_inline void *take_transport(struct packet *packet, __u32 size)
{
	if (packet->headers_length + size > packet->told)
		return NULL;
	return take(&packet->cursor, size);
}

static __always_inline void parse_ports(struct packet *packet, struct flow_key *key)
{
	struct ports *ports = take_transport(packet, sizeof(*ports));

	if (!ports)
		return;
	key->source_transport_port = ports->source;
	key->destination_transport_port = ports->destination;
}

/* Up to the flags (RFC 9293 3.1). */
#define TCP_START 14

static __always_inline void parse_tcp(struct packet *packet, struct flow_key *key)
{
	struct tcp_header *tcp = take_transport(packet, TCP_START);

	if (!tcp) {
		parse_ports(packet, key);
		return;
	}
	key->source_transport_port = tcp->source;
	key->destination_transport_port = tcp->destination;
	packet->tcp_flags = tcp->flags;
	packet->headers_length += (tcp->data_offset >> 4) * 4;
}

static __always_inline void parse_icmp(struct packet *packet, struct flow_key *key)
{
	__be16 *type_code = take_transport(packet, sizeof(*type_code));

	if (type_code)
		key->destination_transport_port = *type_code;
}

/* A transport header that is cut off leaves ports and flags zero: the packet counts all the same. */
static __always_inline void parse_transport(struct packet *packet, struct flow_key *key)
{
	if (packet->fragment)
		return;
	switch (key->protocol_identifier) {
	case PROTOCOL_TCP:
		parse_tcp(packet, key);
		break;
	case PROTOCOL_UDP:
	case PROTOCOL_UDPLITE:
		parse_ports(packet, key);
		packet->headers_length += 8;
		break;
	case PROTOCOL_SCTP:
		parse_ports(packet, key);
		packet->headers_length += 12; /* the common header (RFC 9260 3.1) */
		break;
	case PROTOCOL_DCCP:
		parse_ports(packet, key);
		break;
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		parse_icmp(packet, key);
		break;
	}
}

/* Behind the link layer, or in a tunnel: `type` says what comes. PACKETS_PARSED when the packet has a key. */
static __always_inline enum packet_outcome parse_network(struct packet *packet, struct flow_key *key, __be16 type,
							 enum alignment alignment)
{
	enum packet_outcome outcome = PACKETS_NOT_IP;

	if (type == bpf_htons(ETH_P_IP))
		outcome = parse_ipv4(packet, key, alignment);
	else if (type == bpf_htons(ETH_P_IPV6))
		outcome = parse_ipv6(packet, key, alignment);
	if (outcome != PACKETS_PARSED)
		return outcome;
	parse_transport(packet, key);
	return PACKETS_PARSED;
}

#endif
