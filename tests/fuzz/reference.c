// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reader that the kernel's parser is compared with. It knows a packet by offsets from its first octet, as the
 * RFCs draw it, and no structure and no pointer into it.
 *
 * Where the RFCs leave a choice to whoever meters, or a packet breaks them, these are the choices of xflowd:
 *   - Two VLAN tags, and only of the TPIDs 0x8100 and 0x88a8. What is behind a third is not IP.
 *   - A contradiction within the fixed header is found before the octets behind it are missed.
 *   - IPv6 extension headers in any order and number up to eight; what follows the eighth is the protocol. Mobility,
 *     HIP and Shim6 headers (135, 139, 140) are protocols, and so is everything behind an IPv4 header.
 *   - Four octets of an extension header suffice to step over it, out of the frame if need be.
 *   - ICMP and ICMPv6 have type and code behind a header of either IP version.
 *   - A TCP header is as long as its data offset says, also where that is less than five words.
 *   - A tunnel is looked for in GSO packets alone: IP in IP, GRE, GENEVE and VXLAN, told by their headers. The inner
 *     packet is longer than a segment, has one tag at most and no extension headers, and carries TCP or UDP.
 *   - BIG TCP's jumbo payload option, first and alone in a GSO packet of payload length 0, is not on the wire.
 */
#include <string.h>

#include "flow.h"
#include "reference.h"

#define MOST_TAGS 2
#define MOST_EXTENSIONS 8

static uint32_t octet(const struct reading *r, uint32_t at)
{
	return r->frame[at];
}

static uint32_t two(const struct reading *r, uint32_t at)
{
	return octet(r, at) << 8 | octet(r, at + 1);
}

/* Where the packet ends by its own length: what an Ethernet frame has behind that is padding (RFC 894). */
static int belongs(const struct reading *r, uint32_t end, uint32_t at, uint32_t octets)
{
	return (r->segment_size || at + octets <= end) && at + octets <= r->length;
}

static int there(const struct reading *r, uint32_t at, uint32_t octets)
{
	return at + octets <= r->length;
}

/* IEEE 802.1Q 9.6: the low twelve bits of the TCI. The first tag is the provider's. */
static void note_tag(struct meaning *m, uint32_t number, uint32_t tci)
{
	if (number == 0)
		m->vlan_id = tci % 4096;
	else
		m->customer_vlan_id = tci % 4096;
}

/* IEEE 802.3 3.2, IEEE 802.1Q 9: where the network header is, and of what type; 0 when the frame is too short. */
static uint32_t read_link(const struct reading *r, struct meaning *m, uint32_t *type)
{
	uint32_t tags = r->tag_taken, at = 12;

	if (tags)
		note_tag(m, 0, r->tci);
	*type = r->ether_type;
	if (!r->has_ethernet)
		return 0;
	for (;;) {
		if (!there(r, at, 2))
			return UINT32_MAX;
		*type = two(r, at);
		at += 2;
		if ((*type != 0x8100 && *type != 0x88a8) || tags == MOST_TAGS)
			return at;
		if (!there(r, at, 4))
			return UINT32_MAX;
		note_tag(m, tags++, two(r, at));
		at += 2;
	}
}

/* RFC 791 3.1. Returns where the payload begins, or 0 with an outcome. A GSO packet need not know its length. */
static uint32_t read_ipv4(const struct reading *r, struct meaning *m, uint32_t at)
{
	uint32_t header, total;

	m->outcome = PACKETS_TOO_SHORT;
	if (!there(r, at, 20))
		return 0;
	header = octet(r, at) % 16 * 4;
	total = two(r, at + 2);
	m->outcome = PACKETS_MALFORMED;
	if (octet(r, at) / 16 != 4 || header < 20 || (total < header && r->segments == 1))
		return 0;
	m->outcome = PACKETS_TOO_SHORT;
	if (!there(r, at, header))
		return 0;

	m->outcome = PACKETS_PARSED;
	m->ip_version = 4;
	m->octets = total;
	m->headers_length = header;
	m->class_of_service = octet(r, at + 1);
	m->later_fragment = two(r, at + 6) % 8192 != 0;
	m->ttl = octet(r, at + 8);
	m->protocol = octet(r, at + 9);
	memcpy(m->source, r->frame + at + 12, 4);
	memcpy(m->destination, r->frame + at + 16, 4);
	return at + header;
}

/* How long the extension header of this kind is (RFC 8200 4, RFC 4302 2); 0 for what is none. */
static uint32_t extension_length(const struct reading *r, uint32_t kind, uint32_t at, uint32_t end)
{
	switch (kind) {
	case 0: /* Hop-by-Hop Options */
	case 43: /* Routing */
	case 60: /* Destination Options */
		return belongs(r, end, at, 4) ? 8 + octet(r, at + 1) * 8 : 0;
	case 44: /* Fragment */
		return belongs(r, end, at, 4) ? 8 : 0;
	case 51: /* Authentication */
		return belongs(r, end, at, 4) ? 8 + octet(r, at + 1) * 4 : 0;
	default:
		return 0;
	}
}

/* RFC 8200 3 and 4. Behind the Fragment header of a later fragment comes the middle of something. */
static uint32_t read_ipv6(const struct reading *r, struct meaning *m, uint32_t at)
{
	uint32_t begin = at, seen, step;

	m->outcome = there(r, at, 40) ? PACKETS_MALFORMED : PACKETS_TOO_SHORT;
	if (!there(r, at, 40) || octet(r, at) / 16 != 6)
		return 0;
	m->outcome = PACKETS_PARSED;
	m->ip_version = 6;
	m->class_of_service = two(r, at) / 16 % 256;
	m->flow_label = octet(r, at + 1) % 16 << 16 | two(r, at + 2);
	m->octets = 40 + two(r, at + 4);
	m->protocol = octet(r, at + 6);
	m->ttl = octet(r, at + 7);
	memcpy(m->source, r->frame + at + 8, 16);
	memcpy(m->destination, r->frame + at + 24, 16);
	at += 40;
	for (seen = 0; seen < MOST_EXTENSIONS && !m->later_fragment; seen++) {
		step = extension_length(r, m->protocol, at, begin + m->octets);
		if (!step)
			break;
		if (m->protocol == 44)
			m->later_fragment = two(r, at + 2) / 8 != 0;
		m->protocol = octet(r, at);
		at += step;
	}
	m->headers_length = at - begin;
	return at;
}

static void read_ports(const struct reading *r, struct meaning *m, uint32_t at, uint32_t end)
{
	if (!belongs(r, end, at, 4))
		return;
	m->source_port = two(r, at);
	m->destination_port = two(r, at + 2);
}

/* RFC 9293 3.1, RFC 768, RFC 3828, RFC 4340 5.1, RFC 9260 3.1, RFC 792, RFC 4443 2.1. As much of it as is there. */
static void read_transport(const struct reading *r, struct meaning *m, uint32_t at, uint32_t end)
{
	switch (m->protocol) {
	case 6:
		if (belongs(r, end, at, 14)) {
			m->tcp_flags = octet(r, at + 13);
			m->headers_length += octet(r, at + 12) / 16 * 4;
		}
		read_ports(r, m, at, end);
		break;
	case 17:
	case 136:
		m->headers_length += 8;
		read_ports(r, m, at, end);
		break;
	case 132:
		m->headers_length += 12;
		read_ports(r, m, at, end);
		break;
	case 33:
		read_ports(r, m, at, end);
		break;
	case 1:
	case 58:
		m->destination_port = belongs(r, end, at, 2) ? two(r, at) : 0;
		break;
	}
}

/* Octets of a GRE header (RFC 2784, RFC 2890), and the type behind it; 0 where it is none. */
static uint32_t gre_length(const struct reading *r, uint32_t at, uint32_t *type)
{
	uint32_t bits, length;

	if (!there(r, at, 4) || octet(r, at + 1) % 8)
		return 0;
	bits = octet(r, at);
	length = 4 + (bits & 128 ? 4 : 0) + (bits & 32 ? 4 : 0) + (bits & 16 ? 4 : 0);
	*type = two(r, at + 2);
	return there(r, at, length) ? length : 0;
}

/* The same of a UDP header with one of GENEVE (RFC 8926 3.4) or VXLAN (RFC 7348 5). */
static uint32_t udp_tunnel_length(const struct reading *r, uint32_t at, uint32_t *type)
{
	uint32_t length = 16;

	if (!there(r, at, 16))
		return 0;
	*type = 0x6558;
	if (two(r, at + 10) == 0x6558)
		length += octet(r, at + 8) % 64 * 4;
	else if (!(octet(r, at + 8) & 8))
		return 0;
	return there(r, at, length) ? length : 0;
}

/* Where the inner IP header begins, and its version; 0 where there is none. */
static uint32_t inner_packet(const struct reading *r, uint32_t outer, uint32_t at, uint32_t *version)
{
	uint32_t type = outer == 4 ? 0x0800 : 0x86dd, length = 0;

	if (outer == 47 || outer == 17) {
		length = outer == 47 ? gre_length(r, at, &type) : udp_tunnel_length(r, at, &type);
		if (!length)
			return 0;
	} else if (outer != 4 && outer != 41) {
		return 0;
	}
	at += length;
	if (type == 0x6558) {
		if (!there(r, at, 14))
			return 0;
		type = two(r, at + 12);
		at += 14;
		if (type == 0x8100 || type == 0x88a8) {
			type = there(r, at, 4) ? two(r, at + 2) : 0;
			at += 4;
		}
	}
	*version = type == 0x0800 ? 4 : 6;
	return type == 0x0800 || type == 0x86dd ? at : 0;
}

/* Octets of the inner IP header, and the protocol in it; 0 where it is none, or the packet is whole in a segment. */
static uint32_t inner_ip_length(const struct reading *r, uint32_t version, uint32_t at, uint32_t *protocol)
{
	uint32_t length, header = version == 4 ? 20 : 40;

	if (!there(r, at, header) || octet(r, at) / 16 != version)
		return 0;
	length = version == 4 ? two(r, at + 2) : two(r, at + 4);
	if (length && length + (version == 4 ? 0 : 40) <= r->segment_size)
		return 0;
	*protocol = octet(r, at + (version == 4 ? 9 : 6));
	if (version == 4)
		header = octet(r, at) % 16 * 4;
	return header >= 20 && there(r, at, header) ? header : 0;
}

/* In a tunnel segments repeat the inner headers as well. */
static void read_tunnel(const struct reading *r, struct meaning *m, uint32_t at, uint32_t network_at)
{
	uint32_t version, protocol = 0, header, transport = 8, inner = inner_packet(r, m->protocol, at, &version);

	if (!inner)
		return;
	header = inner_ip_length(r, version, inner, &protocol);
	if (!header || (protocol != 6 && protocol != 17))
		return;
	if (protocol == 6)
		transport = there(r, inner + header, 20) ? octet(r, inner + header + 12) / 16 * 4 : 0;
	if (transport)
		m->headers_length = inner + header + transport - network_at;
}

/* RFC 2675 2: eight octets with the one option and nothing else, before TCP. */
static int has_jumbo_option(const struct reading *r, uint32_t network_at)
{
	uint32_t at = network_at + 40;

	if (octet(r, network_at) / 16 != 6 || two(r, network_at + 4) || octet(r, network_at + 6) || !there(r, at, 8))
		return 0;
	return octet(r, at) == 6 && octet(r, at + 1) == 0 && two(r, at + 2) == 0xc204;
}

/* Every segment of a GSO packet repeats the headers, and the frame has them once. */
static void spread(const struct reading *r, struct meaning *m, uint32_t network_at, uint32_t payload_at)
{
	uint32_t length = r->whole_length - network_at;

	if (!r->segment_size)
		return;
	if (!m->later_fragment)
		read_tunnel(r, m, payload_at, network_at);
	m->dropped = has_jumbo_option(r, network_at) ? 8 : 0;
	m->headers_length -= m->dropped;
	if (r->segments > 1)
		m->octets = length - m->dropped + (r->segments - 1) * m->headers_length;
}

struct meaning read_packet(const struct reading *reading)
{
	struct meaning meaning = { .outcome = PACKETS_TOO_SHORT };
	uint32_t type, payload, at = read_link(reading, &meaning, &type);

	if (at == UINT32_MAX)
		return meaning;
	if (type != 0x0800 && type != 0x86dd) {
		meaning.outcome = PACKETS_NOT_IP;
		return meaning;
	}
	payload = type == 0x0800 ? read_ipv4(reading, &meaning, at) : read_ipv6(reading, &meaning, at);
	if (meaning.outcome != PACKETS_PARSED)
		return meaning;
	if (!meaning.later_fragment)
		read_transport(reading, &meaning, payload, at + meaning.octets);
	spread(reading, &meaning, at, payload);
	return meaning;
}
