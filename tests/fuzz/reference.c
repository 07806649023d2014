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
	return (r->segments > 1 || r->segment_size || at + octets <= end) && at + octets <= r->length;
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

/* Every segment of a GSO packet repeats the headers, and the frame has them once. */
static void spread(const struct reading *r, struct meaning *m, uint32_t network_at)
{
	if (r->segments > 1)
		m->octets = r->whole_length - network_at + (r->segments - 1) * m->headers_length;
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
	spread(reading, &meaning, at);
	return meaning;
}
