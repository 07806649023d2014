/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From an IP header to the one in the tunnel that it begins, where packets belong to the flows of their inner headers.
 * One step is one tunnel. What is encrypted, a fragment, or not whole stays what it is outside, and so does a GSO packet
 * of which each segment is an inner packet by itself.
 */
#ifndef XFLOWD_INNER_BPF_H
#define XFLOWD_INNER_BPF_H

#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "link.bpf.h"
#include "packet.bpf.h"
#include "parse.bpf.h"
#include "tunnel.bpf.h"

#define IPV4_FRAGMENT 0x3fff /* offset, and more fragments */
#define GTP_VERSION_TYPE 0xf0
#define GTP_VERSION_1 0x30 /* GTP, not GTP' */
#define GTP_OPTIONAL 0x07 /* any of these bits: four octets more */
#define GTP_EXTENDED 0x04
#define GTP_PACKET 0xff
#define GTP_EXTENSIONS 4
#define TEREDO_ORIGIN 0x0000
#define SEGMENT_ID_VXLAN (1ULL << 56) /* layer2SegmentId, IANA 351 */
#define SEGMENT_ID_NVGRE (2ULL << 56)

/* RFC 7348 4.1, RFC 8926 3.3, 3GPP TS 29.281 4.4.2, RFC 4380 2.7 */
enum tunnel_port {
	PORT_GTPU = 2152,
	PORT_TEREDO = 3544,
	PORT_VXLAN = 4789,
	PORT_VXLAN_LINUX = 8472, /* Linux's own where no other is named; registered for OTV, which has the same form */
	PORT_GENEVE = 6081,
};

struct udp_header {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 checksum;
};

struct vxlan_header {
	__u8 flags;
	__u8 reserved[3];
	__u8 network[3];
	__u8 reserved_too;
};

struct geneve_header {
	__u8 version_length;
	__u8 flags;
	__be16 type;
	__be16 network[2];
};

/* 3GPP TS 29.281 5.1 */
struct gtp_header {
	__u8 flags;
	__u8 type;
	__be16 length;
	__be16 teid[2];
};

/* One step's: where it has come to, and what is known of the packet around. */
struct descent {
	struct cursor cursor;
	__be16 type; /* of what comes next */
	__u8 protocol; /* of the outer header; PROTOCOL_FRAGMENT and the like where nothing can be found in it */
	__u32 outer_octets; /* by its own length field */
	__u64 segment_id;
	__u32 gre_key;
	__u32 teid;
};

static __always_inline int enter_ipv4(struct descent *descent)
{
	struct ipv4_header *ip = take(&descent->cursor, sizeof(*ip));
	__u32 words;

	if (!ip)
		return -1;
	words = ip->version_length & 0x0f;
	if (ip->version_length >> 4 != 4 || words < 5 || ip->fragment & bpf_htons(IPV4_FRAGMENT))
		return -1;
	descent->protocol = ip->protocol;
	descent->outer_octets = bpf_ntohs(ip->total_length);
	return take(&descent->cursor, words * 4 - sizeof(*ip)) ? 0 : -1;
}

static __always_inline int enter_ipv6(struct descent *descent)
{
	struct ipv6_header *ip = take(&descent->cursor, sizeof(*ip));

	if (!ip || *(__u8 *)ip >> 4 != 6)
		return -1;
	descent->protocol = ip->next_header;
	descent->outer_octets = bpf_ntohs(ip->payload_length) + sizeof(*ip);
	descent->cursor.position += skip_extensions(ip + 1, descent->cursor.end, &descent->protocol, IPV6_EXTENSIONS_MASK);
	return 0;
}

/* RFC 2784 2, RFC 2890 2. The key lies behind the checksum. */
static __always_inline int enter_gre(struct descent *descent)
{
	struct gre_header *gre = take(&descent->cursor, sizeof(*gre));
	__be16 *key;
	__u16 flags;

	if (!gre)
		return -1;
	flags = bpf_ntohs(gre->flags);
	if (flags & GRE_VERSION || (flags & GRE_CHECKSUM && !take(&descent->cursor, 4)))
		return -1;
	if (flags & GRE_KEY) {
		key = take(&descent->cursor, 4);
		if (!key)
			return -1;
		descent->gre_key = bpf_ntohl(word(key, ALIGNED_TO_TWO));
		if (gre->type == bpf_htons(ETH_P_TEB) && !(flags & (GRE_CHECKSUM | GRE_SEQUENCE))) /* RFC 7637 3.2 */
			descent->segment_id = SEGMENT_ID_NVGRE | descent->gre_key >> 8;
	}
	if (flags & GRE_SEQUENCE && !take(&descent->cursor, 4))
		return -1;
	descent->type = gre->type;
	return 0;
}

static __always_inline int enter_vxlan(struct descent *descent)
{
	struct vxlan_header *vxlan = take(&descent->cursor, sizeof(*vxlan));

	if (!vxlan || !(vxlan->flags & VXLAN_NETWORK))
		return -1;
	descent->type = bpf_htons(ETH_P_TEB);
	descent->segment_id = SEGMENT_ID_VXLAN | vxlan->network[0] << 16 | vxlan->network[1] << 8 | vxlan->network[2];
	return 0;
}

static __always_inline int enter_geneve(struct descent *descent)
{
	struct geneve_header *geneve = take(&descent->cursor, sizeof(*geneve));

	if (!geneve || geneve->version_length & ~GENEVE_OPTIONS)
		return -1;
	descent->type = geneve->type;
	return take(&descent->cursor, (geneve->version_length & GENEVE_OPTIONS) * 4) ? 0 : -1;
}

/* The packet's version is told by its first octet alone: -1 where it is none. */
static __always_inline int enter_packet(struct descent *descent)
{
	return parse_first_nibble(&descent->cursor, &descent->type);
}

/* Each extension header begins with its length in words of four octets, and ends with the kind of the next. */
static __always_inline int skip_gtp_extensions(struct descent *descent, __u8 kind)
{
	__u8 *begin;
	int i;

	for (i = 0; i < GTP_EXTENSIONS && kind; i++) {
		begin = take(&descent->cursor, 4);
		if (!begin || !*begin)
			return -1;
		/* Masked, which changes nothing: the verifier of Linux 6.1 has forgotten that it is not 0. */
		if (!take(&descent->cursor, ((*begin - 1) & 0xff) * 4))
			return -1;
		begin = descent->cursor.position;
		kind = begin[-1];
	}
	return kind ? -1 : 0;
}

static __always_inline int enter_gtp(struct descent *descent)
{
	struct gtp_header *gtp = take(&descent->cursor, sizeof(*gtp));
	__u8 *more, next = 0;

	if (!gtp || (gtp->flags & GTP_VERSION_TYPE) != GTP_VERSION_1 || gtp->type != GTP_PACKET)
		return -1;
	descent->teid = bpf_ntohl(word(gtp->teid, ALIGNED_TO_TWO));
	if (gtp->flags & GTP_OPTIONAL) {
		more = take(&descent->cursor, 4);
		if (!more)
			return -1;
		if (gtp->flags & GTP_EXTENDED)
			next = more[3];
	}
	return skip_gtp_extensions(descent, next) ? -1 : enter_packet(descent);
}

/* RFC 4380 5.1.1. An authentication has most often an odd length, and comes with a client's first packets alone. */
static __always_inline int enter_teredo(struct descent *descent)
{
	__be16 *origin = descent->cursor.position;

	descent->type = bpf_htons(ETH_P_IPV6);
	if ((void *)(origin + 1) > descent->cursor.end)
		return -1;
	return *origin != bpf_htons(TEREDO_ORIGIN) || take(&descent->cursor, 8) ? 0 : -1;
}

static __always_inline int enter_udp(struct descent *descent)
{
	struct udp_header *udp = take(&descent->cursor, sizeof(*udp));

	if (!udp)
		return -1;
	if (udp->destination == bpf_htons(PORT_VXLAN) || udp->destination == bpf_htons(PORT_VXLAN_LINUX))
		return enter_vxlan(descent);
	if (udp->destination == bpf_htons(PORT_GENEVE))
		return enter_geneve(descent);
	if (udp->destination == bpf_htons(PORT_GTPU))
		return enter_gtp(descent);
	if (udp->destination == bpf_htons(PORT_TEREDO) || udp->source == bpf_htons(PORT_TEREDO))
		return enter_teredo(descent);
	return -1;
}

/* Behind the outer header: what the tunnel carries. -1 where there is no tunnel. */
static __always_inline int enter_tunnel(struct descent *descent)
{
	switch (descent->protocol) {
	case PROTOCOL_IPV4:
		descent->type = bpf_htons(ETH_P_IP);
		return 0;
	case PROTOCOL_IPV6:
		descent->type = bpf_htons(ETH_P_IPV6);
		return 0;
	case PROTOCOL_GRE:
		return enter_gre(descent);
	case PROTOCOL_UDP:
		return enter_udp(descent);
	default:
		return -1;
	}
}

/* Octets of the inner packet by its own length field; 0 where its header is not whole, or contradicts itself. */
static __always_inline __u32 inner_octets(const struct cursor *cursor, __be16 type, int gso)
{
	struct ipv4_header *four = cursor->position;
	struct ipv6_header *six = cursor->position;
	__u32 octets, words;

	if (type == bpf_htons(ETH_P_IP)) {
		if ((void *)(four + 1) > cursor->end)
			return 0;
		words = four->version_length & 0x0f;
		octets = bpf_ntohs(four->total_length);
		if (four->version_length >> 4 != 4 || words < 5 || (void *)four + words * 4 > cursor->end)
			return 0;
		return octets >= words * 4 ? octets : gso && !octets;
	}
	if (type != bpf_htons(ETH_P_IPV6) || (void *)(six + 1) > cursor->end || *(__u8 *)six >> 4 != 6)
		return 0;
	if (!six->payload_length && gso)
		return 1;
	if (!six->payload_length && six->next_header == PROTOCOL_HOP_BY_HOP) /* a jumbogram */
		return 0;
	return bpf_ntohs(six->payload_length) + sizeof(*six);
}

/*
 * Whether there is a packet at the cursor that the outer one has room for, and, of a GSO packet, one that is longer
 * than a segment. BIG TCP's does not tell its length: 1 stands for that.
 */
static __always_inline int holds_packet(const struct descent *descent, __u32 before, __u32 segment_size)
{
	__u32 octets = inner_octets(&descent->cursor, descent->type, segment_size != 0);

	if (segment_size)
		return octets == 1 || octets > segment_size;
	return octets && before + octets <= descent->outer_octets;
}

/*
 * One tunnel further: found() of the inner packet, or FOUND_NOTHING. `from` is found() of the outer one; a segment_size
 * of 1 takes a packet that was found before, and asks no more of its length.
 */
static __always_inline __u32 step_inside(void *frame, void *end, __u32 from, __u32 segment_size,
					 struct descent *descent)
{
	void *begin = frame + (from & FOUND_OFFSET);
	__u32 offset;

	descent->cursor.position = begin;
	descent->cursor.end = end;
	if ((__be16)(from >> FOUND_TYPE) == bpf_htons(ETH_P_IP) ? enter_ipv4(descent) : enter_ipv6(descent))
		return FOUND_NOTHING;
	if (enter_tunnel(descent))
		return FOUND_NOTHING;
	if (descent->type == bpf_htons(ETH_P_TEB))
		descent->type = parse_inner_ethernet(&descent->cursor);
	if (!holds_packet(descent, descent->cursor.position - begin, segment_size))
		return FOUND_NOTHING;
	offset = descent->cursor.position - frame;
	return offset <= FOUND_OFFSET ? found(descent->type, offset) : FOUND_NOTHING;
}

/* Whether it is worth the call: most packets are TCP, which is no tunnel. */
static __always_inline int may_be_tunnel(const struct cursor *cursor, __be16 type)
{
	__u8 *ip = cursor->position;

	if ((void *)(ip + sizeof(struct ipv4_header)) > cursor->end)
		return 0;
	return (type == bpf_htons(ETH_P_IP) ? ip[9] : ip[6]) != PROTOCOL_TCP;
}

#endif
