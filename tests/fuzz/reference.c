// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reader that the kernel's parser is compared with. It knows a packet by offsets from its first octet, as the
 * RFCs draw it, and no structure and no pointer into it.
 *
 * Where the RFCs leave a choice to whoever meters, or a packet breaks them, these are the choices of xflowd:
 *   - Two VLAN tags, and only of the TPIDs 0x8100 and 0x88a8. What is behind a third is not IP.
 *   - PPPoE and MPLS come behind the tags, in this order; up to ten labels, and the packet below them tells its version.
 *   - A payload length of 0 before hop-by-hop options is a jumbogram's, but for a GSO packet.
 *   - A contradiction within the fixed header is found before the octets behind it are missed.
 *   - IPv6 extension headers in any order and number up to eight; what follows the eighth is the protocol. Mobility,
 *     HIP and Shim6 headers (135, 139, 140) are protocols, and so is everything behind an IPv4 header.
 *   - Four octets of an extension header suffice to step over it, out of the frame if need be.
 *   - ICMP and ICMPv6 have type and code behind a header of either IP version.
 *   - A TCP header is as long as its data offset says, also where that is less than five words.
 *   - A tunnel is looked for in GSO packets alone: IP in IP, GRE, GENEVE and VXLAN, told by their headers. The inner
 *     packet is longer than a segment, has two tags at most, is no fragment, and carries TCP or UDP.
 *   - Where inner headers count: two tunnels deep, by their ports in UDP (of Teredo either, of others the destination).
 *     Fragments, AH and Teredo's authentication end the search, and so does an inner packet that is not as its length says,
 *     is longer than the outer one has room for, begins 4,096 octets or more into the frame, or, in a GSO packet, is
 *     whole in each segment. A GTP-U header has four extensions at most. What is found last is the flow's.
 *   - BIG TCP's jumbo payload option, first and alone in a GSO packet of payload length 0, is not on the wire.
 *   - Labels are those of the frame, all else is of the header that is the flow's.
 *   - A Fragment header is told where it is whole, and within the length field in any case; of several the last.
 *   - The layer 4 that is encrypted or compressed is told by its own bit of ipv6ExtensionHeaders, "unknown" by none.
 *   - Of two tunnels each number is the outer one's, unless that is 0.
 */
#include <string.h>

#include "flow.h"
#include "octets.h"
#include "options.h"
#include "reference.h"

#define MOST_TAGS 2
#define MOST_LABELS 10
#define MOST_EXTENSIONS 8

/* IEEE 802.1Q 9.6: the low twelve bits of the TCI. The first tag is the provider's. */
static void note_tag(struct meaning *m, uint32_t number, uint32_t tci)
{
	if (number == 0)
		m->vlan_id = tci % 4096;
	else
		m->customer_vlan_id = tci % 4096;
}

/* IEEE 802.3 3.2, IEEE 802.1Q 9: where the network header is, and of what type; UINT32_MAX when the frame is too short. */
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

/* RFC 2516 4: what a session carries (RFC 1661 2), and where; UINT32_MAX when the frame is too short. */
static uint32_t read_pppoe(const struct reading *r, uint32_t at, uint32_t *type)
{
	if (!there(r, at, 8))
		return UINT32_MAX;
	*type = 0;
	if (two(r, at) != 0x1100)
		return at;
	switch (two(r, at + 6)) {
	case 0x0021:
		*type = 0x0800;
		break;
	case 0x0057:
		*type = 0x86dd;
		break;
	case 0x0281:
	case 0x0283:
		*type = 0x8847;
		break;
	}
	return at + 8;
}

/* Label, class and S bit: the first three octets (RFC 3032 2.1). The first entry is the top. */
static void note_label(struct meaning *m, uint32_t number, uint32_t section)
{
	m->mpls_label_stack_depth = number + 1;
	switch (number) {
	case 0:
		m->mpls_top_label_stack_section = section;
		break;
	case 1:
		m->mpls_label_stack_section2 = section;
		break;
	case 2:
		m->mpls_label_stack_section3 = section;
		break;
	}
}

/* RFC 3032 2.1: the S bit is the lowest of the third octet. RFC 4928 3 for what the first nibble tells. */
static uint32_t read_mpls(const struct reading *r, struct meaning *m, uint32_t at, uint32_t *type)
{
	uint32_t labels = 0, bottom = 0;

	*type = 0;
	while (!bottom && labels < MOST_LABELS) {
		if (!there(r, at, 4))
			return UINT32_MAX;
		note_label(m, labels++, two(r, at) << 8 | octet(r, at + 2));
		bottom = octet(r, at + 2) % 2;
		at += 4;
	}
	if (!bottom)
		return at;
	if (!there(r, at, 1))
		return UINT32_MAX;
	if (octet(r, at) / 16 == 4)
		*type = 0x0800;
	if (octet(r, at) / 16 == 6)
		*type = 0x86dd;
	return at;
}

/* From Ethernet, if there is one, to the IP header: where it is and of which type, or UINT32_MAX. */
static uint32_t read_to_network(const struct reading *r, struct meaning *m, uint32_t *type)
{
	uint32_t at = read_link(r, m, type);

	if (at != UINT32_MAX && *type == 0x8864)
		at = read_pppoe(r, at, type);
	if (at != UINT32_MAX && (*type == 0x8847 || *type == 0x8848))
		at = read_mpls(r, m, at, type);
	return at;
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
	if (octet(r, at) / 16 != 4 || header < 20 || (total < header && !r->segment_size))
		return 0;
	m->outcome = PACKETS_TOO_SHORT;
	if (!there(r, at, header))
		return 0;

	m->outcome = PACKETS_PARSED;
	m->ip_version = 4;
	m->octets = total;
	m->headers_length = header;
	m->class_of_service = octet(r, at + 1);
	m->fragment_identification = two(r, at + 4);
	m->fragment_flags = octet(r, at + 6) & 0x60; /* IANA 197: the first bit is 0 */
	m->fragment_offset = two(r, at + 6) % 8192;
	m->later_fragment = m->fragment_offset != 0;
	m->ipv4_options = ipv4_options_seen(r, at + 20, at + header);
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

/* RFC 8200 4.5: `begin` is where the IPv6 header does. */
static void read_fragment(const struct reading *r, struct meaning *m, uint32_t begin, uint32_t at)
{
	m->later_fragment = two(r, at + 2) / 8 != 0;
	if (!there(r, at, 8) || at + 8 > begin + m->octets)
		return;
	m->fragment_offset = two(r, at + 2) / 8;
	m->fragment_flags = two(r, at + 2) % 2 ? 0x20 : 0; /* where IPv4 has "more fragments" */
	m->fragment_identification = four(r, at + 4);
}

/* RFC 2675 2: eight octets with the one option and nothing else, before TCP. */
static int has_jumbo_option(const struct reading *r, uint32_t network_at)
{
	uint32_t at = network_at + 40;

	if (!r->segment_size || octet(r, network_at) / 16 != 6 || two(r, network_at + 4) || octet(r, network_at + 6))
		return 0;
	return there(r, at, 8) && octet(r, at) == 6 && octet(r, at + 1) == 0 && two(r, at + 2) == 0xc204;
}

/* RFC 8200 3 and 4. Behind the Fragment header of a later fragment comes the middle of something. */
static uint32_t read_ipv6(const struct reading *r, struct meaning *m, uint32_t at)
{
	uint32_t begin = at, seen, step;

	m->outcome = there(r, at, 40) ? PACKETS_MALFORMED : PACKETS_TOO_SHORT;
	if (!there(r, at, 40) || octet(r, at) / 16 != 6)
		return 0;
	m->outcome = PACKETS_JUMBOGRAM;
	if (two(r, at + 4) == 0 && octet(r, at + 6) == 0 && !r->segment_size)
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
			read_fragment(r, m, begin, at);
		if (seen || !has_jumbo_option(r, begin))
			m->ipv6_extension_headers |= extension_header_seen(m->protocol, m->later_fragment);
		m->protocol = octet(r, at);
		at += step;
	}
	if (!m->later_fragment && (m->protocol == 50 || m->protocol == 108 || m->protocol == 135))
		m->ipv6_extension_headers |= extension_header_seen(m->protocol, 0);
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
		read_tcp(r, m, at, end);
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
	uint32_t type = outer == 4 ? 0x0800 : 0x86dd, length = 0, tags;

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
		for (tags = 0; (type == 0x8100 || type == 0x88a8) && tags < MOST_TAGS; tags++) {
			type = there(r, at, 4) ? two(r, at + 2) : 0;
			at += 4;
		}
	}
	*version = type == 0x0800 ? 4 : 6;
	return type == 0x0800 || type == 0x86dd ? at : 0;
}

/* Octets of extension headers, up to one that ends the search; what follows is put into `protocol`. */
static uint32_t options_of(const struct reading *r, uint32_t at, uint32_t *protocol)
{
	uint32_t seen, header, begin = at;

	for (seen = 0; seen < MOST_EXTENSIONS && *protocol != 51; seen++) {
		header = extension_length(r, *protocol, at, UINT32_MAX);
		if (!header || (*protocol == 44 && (two(r, at + 2) & 0xfff9)))
			break;
		*protocol = octet(r, at);
		at += header;
	}
	return at - begin;
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
	if (version == 6)
		return header + options_of(r, at + header, protocol);
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

/* Where a tunnel's payload begins, its type, and the tunnel's numbers; UINT32_MAX where that cannot be told. */
struct place {
	uint32_t at;
	uint32_t type;
	uint32_t gre_key;
	uint32_t teid;
	uint64_t segment_id;
};

static const struct place nowhere = { .at = UINT32_MAX };

/* 3GPP TS 29.281 5.1 and 5.2. The sequence number, N-PDU number and next type are all there if any of them is used. */
static struct place inside_gtp(const struct reading *r, uint32_t at)
{
	struct place inner = { 0 };
	uint32_t flags, next = 0, extensions = 0, length;

	if (!there(r, at, 8) || octet(r, at) / 16 != 3 || octet(r, at + 1) != 255)
		return nowhere;
	flags = octet(r, at) % 8;
	inner.teid = four(r, at + 4);
	at += 8;
	if (flags) {
		if (!there(r, at, 4))
			return nowhere;
		next = flags & 4 ? octet(r, at + 3) : 0;
		at += 4;
	}
	while (next && extensions++ < 4) {
		if (!there(r, at, 4))
			return nowhere;
		length = octet(r, at) * 4;
		if (!length || !there(r, at, length))
			return nowhere;
		next = octet(r, at + length - 1);
		at += length;
	}
	if (next || !there(r, at, 1))
		return nowhere;
	inner.at = at;
	inner.type = octet(r, at) / 16 == 4 ? 0x0800 : octet(r, at) / 16 == 6 ? 0x86dd : 0;
	return inner;
}

/* RFC 7348 5. Kind 1 of layer2SegmentId is VXLAN. */
static struct place inside_vxlan(const struct reading *r, uint32_t at)
{
	if (!there(r, at, 8) || !(octet(r, at) & 8))
		return nowhere;
	return (struct place){
		.at = at + 8,
		.type = 0x6558,
		.segment_id = 0x0100000000000000 + four(r, at + 4) / 256,
	};
}

/* RFC 8926 3.4 */
static struct place inside_geneve(const struct reading *r, uint32_t at)
{
	uint32_t length;

	if (!there(r, at, 8) || octet(r, at) >= 64)
		return nowhere;
	length = 8 + octet(r, at) * 4;
	if (!there(r, at, length))
		return nowhere;
	return (struct place){ .at = at + length, .type = two(r, at + 2) };
}

/* RFC 2890 2; RFC 7637 3.2: with a key and nothing else before Ethernet it is NVGRE, kind 2 of layer2SegmentId. */
static struct place inside_gre(const struct reading *r, uint32_t at)
{
	struct place inner = { 0 };
	uint32_t length = gre_length(r, at, &inner.type);

	if (!length)
		return nowhere;
	inner.at = at + length;
	if (octet(r, at) & 0x20)
		inner.gre_key = four(r, at + (octet(r, at) & 0x80 ? 8 : 4));
	if (inner.type == 0x6558 && (octet(r, at) & 0xb0) == 0x20)
		inner.segment_id = 0x0200000000000000 + inner.gre_key / 256;
	return inner;
}

/* By their ports; RFC 4380 5.1.1: of what begins with 0001 the rest is an authentication, and then IPv6. */
static struct place inside_udp(const struct reading *r, uint32_t at)
{
	uint32_t from, to;

	if (!there(r, at, 8))
		return nowhere;
	from = two(r, at);
	to = two(r, at + 2);
	at += 8;
	if (to == 4789 || to == 8472)
		return inside_vxlan(r, at);
	if (to == 6081)
		return inside_geneve(r, at);
	if (to == 2152)
		return inside_gtp(r, at);
	if (to != 3544 && from != 3544)
		return nowhere;
	if (!there(r, at, 2))
		return nowhere;
	if (two(r, at) == 0)
		at += 8;
	if (!there(r, at, 0))
		return nowhere;
	return (struct place){ .at = at, .type = 0x86dd };
}

/* IEEE 802.3 3.2 in a tunnel: two tags at most are stepped over. */
static struct place inside_frame(const struct reading *r, struct place frame)
{
	uint32_t tags = 0;

	if (!there(r, frame.at, 14))
		return nowhere;
	frame.type = two(r, frame.at + 12);
	frame.at += 14;
	while ((frame.type == 0x8100 || frame.type == 0x88a8) && tags++ < MOST_TAGS) {
		if (!there(r, frame.at, 4))
			return nowhere;
		frame.type = two(r, frame.at + 2);
		frame.at += 4;
	}
	return frame;
}

/* The payload of an IP packet that is neither a fragment nor protected; `protocol` is set with it. */
static uint32_t payload_of(const struct reading *r, struct place outer, uint32_t *protocol, uint32_t *length)
{
	uint32_t at = outer.at, header;

	if (outer.type == 0x0800) {
		if (!there(r, at, 20) || octet(r, at) / 16 != 4 || two(r, at + 6) % 16384)
			return UINT32_MAX;
		header = octet(r, at) % 16 * 4;
		*protocol = octet(r, at + 9);
		*length = two(r, at + 2);
		return header >= 20 && there(r, at, header) ? at + header : UINT32_MAX;
	}
	if (!there(r, at, 40) || octet(r, at) / 16 != 6)
		return UINT32_MAX;
	*protocol = octet(r, at + 6);
	*length = 40 + two(r, at + 4);
	at += 40;
	return at + options_of(r, at, protocol);
}

/* Whether a packet begins here that is what it says; `room` octets of the outer packet are left for it. */
static int is_packet(const struct reading *r, struct place inner, uint32_t room)
{
	uint32_t header = 40, length;

	if (inner.type == 0x0800) {
		if (!there(r, inner.at, 20) || octet(r, inner.at) / 16 != 4)
			return 0;
		header = octet(r, inner.at) % 16 * 4;
		length = two(r, inner.at + 2);
		if (header < 20 || !there(r, inner.at, header))
			return 0;
		if (length < header)
			return r->segment_size && !length;
	} else {
		if (inner.type != 0x86dd || !there(r, inner.at, 40) || octet(r, inner.at) / 16 != 6)
			return 0;
		length = two(r, inner.at + 4);
		if (!length && r->segment_size)
			return 1;
		if (!length && octet(r, inner.at + 6) == 0)
			return 0;
		length += 40;
	}
	return r->segment_size ? length > r->segment_size : length <= room;
}

/* One tunnel further, or nowhere. */
static struct place step_into(const struct reading *r, struct place outer)
{
	uint32_t protocol = 0, length = 0, at = payload_of(r, outer, &protocol, &length);
	struct place inner = nowhere;

	if (at == UINT32_MAX)
		return nowhere;
	if (protocol == 4 || protocol == 41)
		inner = (struct place){ .at = at, .type = protocol == 4 ? 0x0800 : 0x86dd };
	else if (protocol == 47)
		inner = inside_gre(r, at);
	else if (protocol == 17)
		inner = inside_udp(r, at);
	if (inner.at != UINT32_MAX && inner.type == 0x6558)
		inner = inside_frame(r, inner);
	if (inner.at == UINT32_MAX || inner.at > 4095)
		return nowhere;
	if (!r->segment_size && length < inner.at - outer.at)
		return nowhere;
	return is_packet(r, inner, length - (inner.at - outer.at)) ? inner : nowhere;
}

/* The addresses between which the packet is tunnelled. */
static void note_outer(const struct reading *r, struct meaning *m, struct place outer)
{
	const uint8_t *header = r->frame + outer.at;

	m->outer_ip_version = outer.type == 0x0800 ? 4 : 6;
	memcpy(m->outer_source, header + (outer.type == 0x0800 ? 12 : 8), outer.type == 0x0800 ? 4 : 16);
	memcpy(m->outer_destination, header + (outer.type == 0x0800 ? 16 : 24), outer.type == 0x0800 ? 4 : 16);
}

static void note_tunnel(struct meaning *m, struct place inner)
{
	if (!m->layer2_segment_id)
		m->layer2_segment_id = inner.segment_id;
	if (!m->gre_key)
		m->gre_key = inner.gre_key;
	if (!m->gtpu_teid)
		m->gtpu_teid = inner.teid;
}

static struct place innermost(const struct reading *r, struct meaning *m, struct place outer)
{
	uint32_t depth;
	struct place inner;

	for (depth = 0; depth < 2; depth++) {
		inner = step_into(r, outer);
		if (inner.at == UINT32_MAX)
			break;
		if (depth == 0)
			note_outer(r, m, outer);
		note_tunnel(m, inner);
		outer = inner;
	}
	return outer;
}

struct meaning read_packet(const struct reading *reading)
{
	struct meaning meaning = { .outcome = PACKETS_TOO_SHORT };
	uint32_t type, payload, at = read_to_network(reading, &meaning, &type);

	if (at == UINT32_MAX)
		return meaning;
	if (type != 0x0800 && type != 0x86dd) {
		meaning.outcome = PACKETS_NOT_IP;
		return meaning;
	}
	if (reading->inside) {
		struct place found = innermost(reading, &meaning, (struct place){ .at = at, .type = type });

		at = found.at;
		type = found.type;
	}
	meaning.network_at = at;
	payload = type == 0x0800 ? read_ipv4(reading, &meaning, at) : read_ipv6(reading, &meaning, at);
	if (meaning.outcome != PACKETS_PARSED)
		return meaning;
	if (!meaning.later_fragment)
		read_transport(reading, &meaning, payload, at + meaning.octets);
	count_flags(&meaning, reading->segments);
	spread(reading, &meaning, at, payload);
	return meaning;
}
