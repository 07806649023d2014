// SPDX-License-Identifier: GPL-2.0-only
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "differences.h"
#include "flow.h"

#define FIELD(name) { #name, offsetof(struct meaning, name), sizeof(((struct meaning *)0)->name) }

static const struct field {
	const char *name;
	size_t offset;
	size_t size;
} fields[] = {
	FIELD(outcome),
	FIELD(octets),
	FIELD(headers_length),
	FIELD(flow_label),
	FIELD(source_port),
	FIELD(destination_port),
	FIELD(vlan_id),
	FIELD(customer_vlan_id),
	FIELD(protocol),
	FIELD(ip_version),
	FIELD(ttl),
	FIELD(class_of_service),
	FIELD(tcp_flags),
	FIELD(later_fragment),
	FIELD(dropped),
	FIELD(source),
	FIELD(destination),
	FIELD(network_at),
	FIELD(mpls_label_stack_depth),
	FIELD(mpls_top_label_stack_section),
	FIELD(mpls_label_stack_section2),
	FIELD(mpls_label_stack_section3),
	FIELD(fragment_identification),
	FIELD(fragment_flags),
	FIELD(fragment_offset),
	FIELD(ipv4_options),
	FIELD(ipv6_extension_headers),
	FIELD(tcp_options),
	FIELD(tcp_syn_seen),
	FIELD(tcp_window_size),
	FIELD(tcp_window_scale),
	FIELD(tcp_syn_total_count),
	FIELD(tcp_fin_total_count),
	FIELD(tcp_rst_total_count),
	FIELD(tcp_psh_total_count),
	FIELD(tcp_ack_total_count),
	FIELD(tcp_urg_total_count),
	FIELD(outer_ip_version),
	FIELD(outer_source),
	FIELD(outer_destination),
	FIELD(layer2_segment_id),
	FIELD(gre_key),
	FIELD(gtpu_teid),
};

int same_meaning(const struct meaning *a, const struct meaning *b)
{
	if (a->outcome != b->outcome)
		return 0;
	return a->outcome != PACKETS_PARSED || !memcmp(a, b, sizeof(*a));
}

static void print_octets(const uint8_t *octets, size_t size)
{
	for (size_t i = 0; i < size; i++)
		fprintf(stderr, "%02x", octets[i]);
}

static void print_field(const struct field *field, const struct meaning *meaning)
{
	const uint8_t *at = (const uint8_t *)meaning + field->offset;
	uint16_t two;
	uint32_t four;
	uint64_t eight;

	if (field->size == 1) {
		fprintf(stderr, "%u", *at);
	} else if (field->size == 2) {
		memcpy(&two, at, sizeof(two));
		fprintf(stderr, "%u", two);
	} else if (field->size == 4) {
		memcpy(&four, at, sizeof(four));
		fprintf(stderr, "%u", four);
	} else if (field->size == 8) {
		memcpy(&eight, at, sizeof(eight));
		fprintf(stderr, "%016llx", (unsigned long long)eight);
	} else {
		print_octets(at, field->size);
	}
}

void print_difference(const struct reading *reading, const struct meaning *parsed, const struct meaning *reference)
{
	fprintf(stderr, "difference: %s", reading->has_ethernet ? "Ethernet" : "no link layer");
	if (!reading->has_ethernet)
		fprintf(stderr, ", type %04x", reading->ether_type);
	if (reading->tag_taken)
		fprintf(stderr, ", tag %u taken off", reading->tci);
	if (reading->segment_size)
		fprintf(stderr, ", %u segments of %u", reading->segments, reading->segment_size);
	fprintf(stderr, "\n  packet ");
	print_octets(reading->frame, reading->length);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (!memcmp((uint8_t *)parsed + fields[i].offset, (uint8_t *)reference + fields[i].offset, fields[i].size))
			continue;
		fprintf(stderr, "\n  %s: the parser ", fields[i].name);
		print_field(&fields[i], parsed);
		fprintf(stderr, ", the reference ");
		print_field(&fields[i], reference);
	}
	fprintf(stderr, "\n");
}
