/* SPDX-License-Identifier: GPL-2.0-only */
/* What is kept of a flow beside its slot, read anew from the frame: struct flow_detail says what, and of which packets. */
#ifndef XFLOWD_DETAILS_BPF_H
#define XFLOWD_DETAILS_BPF_H

#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "inner.bpf.h"
#include "link.bpf.h"
#include "packet.bpf.h"
#include "parse.bpf.h"

#define MOST_OPTIONS 40 /* octets of options in an IPv4 or a TCP header */
#define PLACE_MASK 0x7fff
#define IPV4_FRAGMENT_FLAGS 0x60 /* without the reserved bit, which IANA 197 has as 0 */
#define OPTION_END 0
#define OPTION_PADDING 1 /* one octet long, in IPv4 and in TCP */
#define TCP_WINDOW_SCALE 3 /* RFC 7323 2.2 */
#define TCP_SYN 0x02
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20
#define IPV4_OPTION_NUMBER 0x1f
#define IPV4_OPTION_EXPERIMENT 30 /* RFC 4727 2.2: of the classes 0 and 2, copied or not */
#define IPV4_OPTION_RESERVED_CLASS 0x20
#define FRAGMENT_HEADER 8 /* octets (RFC 8200 4.5) */
#define EXTENSION_MOBILITY 135
#define EXTENSION_ESP 50
#define EXTENSION_COMPRESSION 108
#define EXTENSION_LATER_FRAGMENT 6 /* bits of ipv6ExtensionHeaders that no struct extension_kind has */
#define EXTENSION_MOBILITY_BIT 12
#define EXTENSION_ESP_BIT 13
#define EXTENSION_COMPRESSION_BIT 15

/*
 * The type of each option of IPv4 by its number, as the registry of ipv4Options has them. One that has another copy flag
 * or class than that is not it (IANA 208). EOOL is 0 by right, and what is 0 otherwise is none.
 */
static const volatile __u8 ipv4_option_types[32] = {
	0,   1,	  130, 131, 68, 133, 134, 7, 136, 137, 10, 11, 12, 205, 142, 15,
	144, 145, 82,  147, 148, 149, 150, 151, 152, 25,
};

/*
 * In the registry's pictures the first octet on the wire has the options 0 to 7, the lowest in its lowest bit. In network
 * order that octet is the highest of the number.
 */
static __always_inline __u32 ipv4_option_bit(__u8 type)
{
	__u32 number = type & IPV4_OPTION_NUMBER;

	if (ipv4_option_types[number] != type &&
	    (number != IPV4_OPTION_EXPERIMENT || type & IPV4_OPTION_RESERVED_CLASS))
		return 0;
	return 1U << (number ^ 24);
}

static __always_inline __u64 tcp_option_bit(__u8 kind)
{
	return kind < 64 ? 1ULL << (kind ^ 56) : 0;
}

/* In this one the first bit on the wire is bit 0. */
static __always_inline __u32 extension_bit(__u32 bit)
{
	return 0x80000000U >> bit;
}

/* What options say: those of IPv4 or of TCP. */
struct options {
	__u64 seen;
	__u16 window_scale;
};

/*
 * The options from `at` to `stop`, octets from the start of the frame, of which it may have fewer. For the verifier a
 * place is any number within the mask: known ones it would follow each on its own way.
 */
static __always_inline void walk_options(void *frame, void *end, __u32 at, __u32 stop, int tcp, struct options *options)
{
	__u32 step;
	__u8 *option;
	int i;

	for (i = 0; i < MOST_OPTIONS; i++) {
		at &= PLACE_MASK;
		option = frame + at;
		if (at >= stop || (void *)(option + 1) > end)
			return;
		options->seen |= tcp ? tcp_option_bit(*option) : ipv4_option_bit(*option);
		if (*option == OPTION_END)
			return;
		step = 1;
		if (*option != OPTION_PADDING) {
			if ((void *)(option + 2) > end || at + 1 >= stop)
				return;
			step = option[1];
			if (step < 2)
				return;
			if (tcp && *option == TCP_WINDOW_SCALE && step == 3 && at + 3 <= stop &&
			    (void *)(option + 3) <= end)
				options->window_scale = option[2];
		}
		at += step;
	}
}

/* Where the transport header is, from the start of the frame; its protocol, or -1 where there is none to be read. */
struct transport {
	__u32 at;
	int protocol;
};

static __always_inline void note_ipv4_options(void *frame, void *end, __u32 at, struct flow_detail *detail, __u32 groups,
					      struct transport *transport)
{
	struct ipv4_header *ip = frame + at;
	struct options options = {};

	if ((void *)(ip + 1) > end)
		return;
	transport->at = at + (ip->version_length & 0x0f) * 4;
	if (!(ip->fragment & bpf_htons(IPV4_FRAGMENT_OFFSET)))
		transport->protocol = ip->protocol;
	if (!(groups & DETAIL_OPTIONS))
		return;
	walk_options(frame, end, at + sizeof(*ip), transport->at, 0, &options);
	if ((detail->ipv4_options | options.seen) != detail->ipv4_options)
		detail->ipv4_options |= options.seen;
}

/* Of the header that the walk ends with: some of IANA 64 are not stepped over. */
static __always_inline __u32 last_extension(__u8 protocol)
{
	switch (protocol) {
	case EXTENSION_MOBILITY:
		return extension_bit(EXTENSION_MOBILITY_BIT);
	case EXTENSION_ESP:
		return extension_bit(EXTENSION_ESP_BIT);
	case EXTENSION_COMPRESSION:
		return extension_bit(EXTENSION_COMPRESSION_BIT);
	default:
		return 0;
	}
}

/* The same walk as walk_extensions(). A whole Fragment header is noted in `fragment`, where it is asked for. */
static __always_inline void note_extensions(void *frame, void *end, __u32 at, __u32 told, __u32 *seen,
					    struct transport *transport, void **fragment)
{
	struct ipv6_header *ip = frame + at;
	const volatile struct extension_kind *kind;
	struct extension_header *header;
	__be16 later = 0;
	__u32 offset = 0;
	__u8 protocol;
	int i;

	if ((void *)(ip + 1) > end)
		return;
	protocol = ip->next_header;
	if (has_jumbo_header(ip, end)) { /* on no wire */
		protocol = PROTOCOL_TCP;
		offset = sizeof(struct jumbo_header);
	}
	for (i = 0; i < IPV6_EXTENSION_HEADERS; i++) {
		kind = &extension_kinds[protocol];
		header = (void *)(ip + 1) + offset;
		if (!kind->plus || later || (void *)(header + 1) > end)
			break;
		if (sizeof(*ip) + offset + sizeof(*header) > told)
			break;
		later = header->fragment_offset & kind->offset_mask;
		*seen |= later ? extension_bit(EXTENSION_LATER_FRAGMENT) : extension_bit(kind->seen & 31);
		if (fragment && protocol == PROTOCOL_FRAGMENT && (void *)header + FRAGMENT_HEADER <= end &&
		    sizeof(*ip) + offset + FRAGMENT_HEADER <= told)
			*fragment = header;
		offset += ((header->length & kind->length_mask) + kind->plus) << (kind->shift & 3);
		offset &= IPV6_EXTENSIONS_MASK;
		protocol = header->next;
	}
	if (later)
		return;
	*seen |= last_extension(protocol);
	transport->at = at + sizeof(*ip) + offset;
	transport->protocol = protocol;
}

/* Options, window and its scale: the latter two of the first SYN. Behind `stop` the packet's own length has padding. */
static __always_inline void note_tcp(void *frame, void *end, __u32 at, __u32 stop, struct flow_detail *detail,
				     __u32 groups)
{
	struct options options = {};
	struct tcp_header *tcp;
	__u32 header_stop;

	at &= PLACE_MASK;
	tcp = frame + at;
	if ((void *)(tcp + 1) > end || at + sizeof(*tcp) > stop)
		return;
	header_stop = at + (tcp->data_offset >> 4) * 4;
	walk_options(frame, end, at + sizeof(*tcp), header_stop < stop ? header_stop : stop, 1, &options);
	if (groups & DETAIL_OPTIONS && (detail->tcp_options | options.seen) != detail->tcp_options)
		detail->tcp_options |= options.seen;
	if (!(groups & DETAIL_TCP) || !(tcp->flags & TCP_SYN) || detail->tcp_syn_seen)
		return;
	detail->tcp_syn_seen = 1;
	detail->tcp_window_size = bpf_ntohs(tcp->window);
	detail->tcp_window_scale = options.window_scale;
}

/*
 * Of each packet: all but TCP's. `at` is found() of its IP header; `told` what its length field says, or more in a GSO
 * packet. Returns where TCP's header is, 0 where there is none.
 */
static __always_inline __u32 note_options(void *frame, void *end, __u32 at, __u32 told, struct flow_detail *detail,
					 __u32 groups)
{
	struct transport transport = { 0, -1 };
	__u32 seen = 0;

	if ((__be16)(at >> FOUND_TYPE) == bpf_htons(ETH_P_IP))
		note_ipv4_options(frame, end, at & FOUND_OFFSET, detail, groups, &transport);
	else
		note_extensions(frame, end, at & FOUND_OFFSET, told, &seen, &transport, NULL);
	if (groups & DETAIL_OPTIONS && (detail->ipv6_extension_headers | seen) != detail->ipv6_extension_headers)
		detail->ipv6_extension_headers |= seen;
	return transport.protocol == PROTOCOL_TCP ? transport.at : 0;
}

/* RFC 3032 2.1: of an entry the label, the class and the bit of the bottom; the TTL is not exported. */
static __always_inline void note_labels(void *frame, void *end, __u32 from, struct flow_detail *detail)
{
	struct cursor cursor = { frame + (from & FOUND_OFFSET), end };
	__be16 type = from >> FOUND_TYPE;
	__u32 section;
	__be16 *tag;
	__u8 *entry;
	int i;

	for (i = 0; i < VLAN_TAGS && is_vlan(type); i++) {
		tag = take(&cursor, sizeof(struct vlan_tag));
		if (!tag)
			return;
		type = tag[1];
	}
	if (type == bpf_htons(ETH_P_PPP_SES) && parse_pppoe(&cursor, &type) < 0)
		return;
	if (!is_mpls(type))
		return;
	for (i = 0; i < MPLS_LABELS; i++) {
		entry = take(&cursor, 4);
		if (!entry)
			return;
		section = entry[0] << 16 | entry[1] << 8 | entry[2];
		detail->mpls_label_stack_depth = i + 1;
		if (i == 0)
			detail->mpls_top_label_stack_section = section;
		else if (i == 1)
			detail->mpls_label_stack_section2 = section;
		else if (i == 2)
			detail->mpls_label_stack_section3 = section;
		if (section & MPLS_BOTTOM)
			return;
	}
}

/* RFC 791 3.1, RFC 8200 4.5: the flags lie as in IPv4, of which IPv6 has the last alone. */
static __always_inline void note_fragment(void *frame, void *end, __u32 at, struct flow_detail *detail)
{
	struct transport transport = { 0, -1 };
	struct ipv4_header *ip = frame + (at & FOUND_OFFSET);
	struct ipv6_header *six = (void *)ip;
	void *fragment = NULL;
	__u32 seen = 0;
	__be16 *words;
	__u16 field;

	if ((__be16)(at >> FOUND_TYPE) == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip + 1) > end)
			return;
		field = bpf_ntohs(ip->fragment);
		detail->fragment_identification = bpf_ntohs(ip->identification);
		detail->fragment_flags = field >> 8 & IPV4_FRAGMENT_FLAGS;
		detail->fragment_offset = field & IPV4_FRAGMENT_OFFSET;
		return;
	}
	if ((void *)(six + 1) > end)
		return;
	note_extensions(frame, end, at & FOUND_OFFSET, bpf_ntohs(six->payload_length) + sizeof(*six), &seen, &transport,
			&fragment);
	words = fragment;
	if (!words)
		return;
	field = bpf_ntohs(words[1]);
	detail->fragment_identification = bpf_ntohl(word(words + 2, ALIGNED_TO_TWO));
	detail->fragment_flags = field & IPV6_MORE_FRAGMENTS ? 0x20 : 0;
	detail->fragment_offset = field >> 3;
}

static __always_inline void note_outer_addresses(void *frame, void *end, __u32 from, struct flow_detail *detail)
{
	struct ipv4_header *four = frame + (from & FOUND_OFFSET);
	struct ipv6_header *six = frame + (from & FOUND_OFFSET);

	if ((__be16)(from >> FOUND_TYPE) == bpf_htons(ETH_P_IP)) {
		if ((void *)(four + 1) > end)
			return;
		detail->outer_ip_version = 4;
		*(__be32 *)detail->outer_source_address = word(four->source, ALIGNED_TO_TWO);
		*(__be32 *)detail->outer_destination_address = word(four->destination, ALIGNED_TO_TWO);
		return;
	}
	if ((void *)(six + 1) > end)
		return;
	detail->outer_ip_version = 6;
	copy_address(detail->outer_source_address, six->source, ALIGNED_TO_TWO);
	copy_address(detail->outer_destination_address, six->destination, ALIGNED_TO_TWO);
}

/* One tunnel's numbers, where no tunnel around it has them already. Returns found() of what it carries. */
static __always_inline __u32 note_tunnel(void *frame, void *end, __u32 from, struct flow_detail *detail)
{
	struct descent descent = {};
	__u32 there = step_inside(frame, end, from, 1, &descent);

	if (there == FOUND_NOTHING)
		return there;
	if (!detail->layer2_segment_id)
		detail->layer2_segment_id = descent.segment_id;
	if (!detail->gre_key)
		detail->gre_key = descent.gre_key;
	if (!detail->gtpu_teid)
		detail->gtpu_teid = descent.teid;
	return there;
}

/* A segment's flags: FIN and PSH are the last one's of a GSO packet, the others all have. */
static __always_inline void count_flags(struct flow_detail *detail, __u8 flags, __u32 packets)
{
	if (flags & TCP_SYN)
		__sync_fetch_and_add(&detail->tcp_syn_total_count, packets);
	if (flags & TCP_FIN)
		__sync_fetch_and_add(&detail->tcp_fin_total_count, 1);
	if (flags & TCP_RST)
		__sync_fetch_and_add(&detail->tcp_rst_total_count, packets);
	if (flags & TCP_PSH)
		__sync_fetch_and_add(&detail->tcp_psh_total_count, 1);
	if (flags & TCP_ACK)
		__sync_fetch_and_add(&detail->tcp_ack_total_count, packets);
	if (flags & TCP_URG)
		__sync_fetch_and_add(&detail->tcp_urg_total_count, packets);
}

#endif
