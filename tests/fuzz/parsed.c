// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebpf/parse.bpf.h and ebpf/details.bpf.h as note.bpf.h and walk.bpf.h call them. A file of its own, because the edges
 * that the fuzzer has reached are counted here alone.
 */
#include <stdlib.h>
#include <string.h>

#include "inner.bpf.h"
#include "parse.bpf.h"
#include "parsed.h"
#include "tunnel.bpf.h"

/* As in the programs a function of its own, whose edges are counted once: details.bpf.h takes the same steps. */
static __attribute__((noinline)) __u32 step_by_itself(void *frame, void *end, __u32 from, __u32 segment_size,
						      struct descent *descent)
{
	return step_inside(frame, end, from, segment_size, descent);
}

#define step_inside step_by_itself
#include "details.bpf.h"

static void address(uint8_t *to, const void *ipv4, const void *ipv6, int version)
{
	if (version == 4)
		memcpy(to, ipv4, 4);
	else
		memcpy(to, ipv6, 16);
}

/* The details of the first packet of a flow. */
static void add_details(struct meaning *meaning, const struct flow_detail *detail)
{
	meaning->tcp_options = detail->tcp_options;
	meaning->layer2_segment_id = detail->layer2_segment_id;
	meaning->tcp_syn_total_count = detail->tcp_syn_total_count;
	meaning->tcp_fin_total_count = detail->tcp_fin_total_count;
	meaning->tcp_rst_total_count = detail->tcp_rst_total_count;
	meaning->tcp_psh_total_count = detail->tcp_psh_total_count;
	meaning->tcp_ack_total_count = detail->tcp_ack_total_count;
	meaning->tcp_urg_total_count = detail->tcp_urg_total_count;
	meaning->mpls_top_label_stack_section = detail->mpls_top_label_stack_section;
	meaning->mpls_label_stack_section2 = detail->mpls_label_stack_section2;
	meaning->mpls_label_stack_section3 = detail->mpls_label_stack_section3;
	meaning->fragment_identification = detail->fragment_identification;
	meaning->ipv4_options = detail->ipv4_options;
	meaning->ipv6_extension_headers = detail->ipv6_extension_headers;
	meaning->gre_key = detail->gre_key;
	meaning->gtpu_teid = detail->gtpu_teid;
	meaning->fragment_offset = detail->fragment_offset;
	meaning->tcp_window_size = detail->tcp_window_size;
	meaning->tcp_window_scale = detail->tcp_window_scale;
	meaning->fragment_flags = detail->fragment_flags;
	meaning->mpls_label_stack_depth = detail->mpls_label_stack_depth;
	meaning->tcp_syn_seen = detail->tcp_syn_seen;
	meaning->outer_ip_version = detail->outer_ip_version;
	memcpy(meaning->outer_source, detail->outer_source_address, 16);
	memcpy(meaning->outer_destination, detail->outer_destination_address, 16);
}

static struct meaning as_meaning(const struct packet *packet, const struct flow_key *key, uint32_t whole_length)
{
	struct meaning meaning = {
		.outcome = PACKETS_PARSED,
		.octets = packet->octets,
		.headers_length = packet->headers_length,
		.flow_label = packet->flow_label,
		.network_at = packet->ip_offset,
		.source_port = bpf_ntohs(key->source_transport_port),
		.destination_port = bpf_ntohs(key->destination_transport_port),
		.vlan_id = key->vlan_id,
		.customer_vlan_id = key->dot1q_customer_vlan_id,
		.protocol = key->protocol_identifier,
		.ip_version = key->ip_version,
		.class_of_service = packet->class_of_service,
		.ttl = packet->ttl,
		.tcp_flags = packet->tcp_flags,
		.later_fragment = packet->fragment,
		.dropped = whole_length - packet->length,
	};

	address(meaning.source, &key->source_ipv4_address, key->source_ipv6_address, key->ip_version);
	address(meaning.destination, &key->destination_ipv4_address, key->destination_ipv6_address, key->ip_version);
	return meaning;
}

/* As count_segments() and read_tunnel() in segments.bpf.h have it. */
static void add_segments(struct packet *packet, const struct flow_key *key, const struct reading *reading)
{
	uint32_t offset = tunnel_offset(packet, key), length = 0;
	void *frame = (void *)reading->frame;

	if (!is_gso(packet))
		return;
	if (key->protocol_identifier != PROTOCOL_TCP && !packet->fragment)
		length = tunnel_headers_length(frame + offset, packet->cursor.end, key->protocol_identifier,
					       packet->segment_size);
	if (length)
		packet->headers_length = offset - packet->ip_offset + length;
	spread_segments(packet);
}

static uint32_t step(const struct packet *packet, uint32_t from, const struct reading *reading)
{
	struct descent descent = {};

	return step_inside((void *)reading->frame, packet->cursor.end, from, packet->segment_size, &descent);
}

static uint32_t look_inside(struct packet *packet, uint32_t from, const struct reading *reading)
{
	uint32_t there, deeper;

	if (!may_be_tunnel(&packet->cursor, from >> FOUND_TYPE))
		return from;
	there = step(packet, from, reading);
	if (there == FOUND_NOTHING)
		return from;
	packet->outer = from;
	deeper = step(packet, there, reading);
	return deeper == FOUND_NOTHING ? there : deeper;
}

/* As parse() and find_network() in walk.bpf.h have it. */
static enum packet_outcome parse(struct packet *packet, struct flow_key *key, const struct reading *reading)
{
	__be16 type = bpf_htons(reading->ether_type);
	uint32_t there;
	int depth = 0;

	if (reading->tag_taken)
		push_vlan(key, depth++, reading->tci);
	if (reading->has_ethernet && parse_ethernet(packet, key, &type, VLAN_TAGS) < 0)
		return PACKETS_TOO_SHORT;
	packet->encapsulation = found(type, packet->ip_offset);
	if (reading->has_ethernet && parse_vlans(packet, key, &type, depth) < 0)
		return PACKETS_TOO_SHORT;
	if (is_encapsulation(type) && parse_encapsulation(&packet->cursor, &type) < 0)
		return PACKETS_TOO_SHORT;
	packet->ip_offset = packet->cursor.position - (void *)reading->frame;
	if (!reading->inside || (type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6)))
		return parse_network(packet, key, type, ALIGNED_TO_FOUR);
	there = look_inside(packet, found(type, packet->ip_offset), reading);
	packet->ip_offset = there & FOUND_OFFSET;
	packet->cursor.position = (void *)reading->frame + packet->ip_offset;
	return parse_network(packet, key, there >> FOUND_TYPE, ALIGNED_TO_TWO);
}

/* As detail_of_first() and detail_of_each() in note.bpf.h have it, with all groups. */
static void note_details(void *frame, void *end, const struct packet *packet, const struct flow_key *key,
			 struct flow_detail *detail)
{
	__be16 type = key->ip_version == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	uint32_t network = found(type, packet->ip_offset), there, at;

	note_labels(frame, end, packet->encapsulation, detail);
	note_fragment(frame, end, network, detail);
	if (packet->outer) {
		note_outer_addresses(frame, end, packet->outer, detail);
		there = note_tunnel(frame, end, packet->outer, detail);
		if (there != FOUND_NOTHING && there != network)
			note_tunnel(frame, end, there, detail);
	}
	at = note_options(frame, end, network, packet->told, detail, DETAIL_OPTIONS);
	if (at)
		note_tcp(frame, end, at, packet->ip_offset + packet->told, detail, DETAIL_OPTIONS | DETAIL_TCP);
	count_flags(detail, packet->tcp_flags, packet->segments);
}

static struct packet as_packet(const struct reading *reading)
{
	return (struct packet){
		.cursor = { (void *)reading->frame, (void *)(reading->frame + reading->length) },
		.length = reading->whole_length,
		.segments = reading->segments,
		.segment_size = reading->segment_size,
	};
}

struct meaning parse_packet(const struct reading *reading)
{
	struct packet packet = as_packet(reading);
	void *end = packet.cursor.end;
	struct flow_detail detail = {};
	struct flow_key key = {};
	enum packet_outcome outcome = parse(&packet, &key, reading);
	struct meaning meaning;

	if (outcome != PACKETS_PARSED)
		return (struct meaning){ .outcome = outcome };
	add_segments(&packet, &key, reading);
	note_details((void *)reading->frame, end, &packet, &key, &detail);
	meaning = as_meaning(&packet, &key, reading->whole_length);
	add_details(&meaning, &detail);
	return meaning;
}

void note_changed_packet(const struct reading *reading, uint32_t at, uint8_t change)
{
	struct packet packet = as_packet(reading);
	uint32_t length = change ? reading->length : at;
	struct flow_detail detail = {};
	struct flow_key key = {};
	uint8_t *frame;

	if (at >= reading->length || parse(&packet, &key, reading) != PACKETS_PARSED)
		return;
	frame = malloc(2 + length); /* so that the IP header lies at a multiple of four, as in the whole frame */
	memcpy(frame + 2, reading->frame, length);
	if (change)
		frame[2 + at] ^= change;
	note_details(frame + 2, frame + 2 + length, &packet, &key, &detail);
	note_details(frame + 2, frame + 2 + length, &packet, &key, &detail); /* as of a later packet, too */
	free(frame);
}
