// SPDX-License-Identifier: GPL-2.0-only
/*
 * ebpf/parse.bpf.h as the hooks in meter.bpf.c call it. A file of its own, because the edges that the fuzzer has
 * reached are counted here alone.
 */
#include <string.h>

#include "inner.bpf.h"
#include "parse.bpf.h"
#include "parsed.h"
#include "tunnel.bpf.h"

static void address(uint8_t *to, const void *ipv4, const void *ipv6, int version)
{
	if (version == 4)
		memcpy(to, ipv4, 4);
	else
		memcpy(to, ipv6, 16);
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

/* As count_segments() and read_tunnel() in meter.bpf.c have it. */
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

/* As in the programs a function of its own, whose edges are counted once. */
static __attribute__((noinline)) uint32_t step(const struct packet *packet, uint32_t from, const struct reading *reading)
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
	deeper = step(packet, there, reading);
	return deeper == FOUND_NOTHING ? there : deeper;
}

/* As parse() and find_network() in meter.bpf.c have it. */
static enum packet_outcome parse(struct packet *packet, struct flow_key *key, const struct reading *reading)
{
	__be16 type = bpf_htons(reading->ether_type);
	uint32_t there;
	int depth = 0;

	if (reading->tag_taken)
		push_vlan(key, depth++, reading->tci);
	if (reading->has_ethernet && parse_ethernet(packet, key, &type, depth) < 0)
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

struct meaning parse_packet(const struct reading *reading)
{
	struct packet packet = {
		.cursor = { (void *)reading->frame, (void *)(reading->frame + reading->length) },
		.length = reading->whole_length,
		.segments = reading->segments,
		.segment_size = reading->segment_size,
	};
	struct flow_key key = {};
	enum packet_outcome outcome = parse(&packet, &key, reading);

	if (outcome != PACKETS_PARSED)
		return (struct meaning){ .outcome = outcome };
	add_segments(&packet, &key, reading);
	return as_meaning(&packet, &key, reading->whole_length);
}
