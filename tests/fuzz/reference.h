/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the headers of a packet say, by a reader that shares no line with ebpf/parse.bpf.h. All numbers are in host
 * order; what the packet does not have is 0.
 */
#ifndef XFLOWD_REFERENCE_H
#define XFLOWD_REFERENCE_H

#include <stdint.h>

/* The frame as a hook has it. */
struct reading {
	const uint8_t *frame;
	uint32_t length; /* octets of it that can be read */
	uint32_t has_ethernet; /* else it begins with its network header, of type ether_type */
	uint32_t ether_type;
	uint32_t tag_taken; /* a VLAN tag was taken off the frame before: tci */
	uint32_t tci;
	uint32_t whole_length; /* of the frame, with what cannot be read */
	uint32_t segments; /* packets on the wire that it stands for */
	uint32_t segment_size; /* their payload; 0 where it is one packet */
	uint32_t inside; /* a packet in a tunnel is read by its inner headers */
};

/* enum packet_outcome of flow.h says what `outcome` means; of another than PACKETS_PARSED the rest means nothing. */
struct meaning {
	uint64_t tcp_options; /* IANA 209 */
	uint64_t layer2_segment_id; /* IANA 351 */
	uint32_t outcome;
	uint32_t octets; /* IP header and payload, on the wire, of all segments */
	uint32_t headers_length; /* IP and transport headers that every segment repeats */
	uint32_t flow_label;
	uint32_t network_at; /* where the IP header begins that is the flow's */
	uint32_t tcp_syn_total_count; /* IANA 218 to 223: of how many segments */
	uint32_t tcp_fin_total_count;
	uint32_t tcp_rst_total_count;
	uint32_t tcp_psh_total_count;
	uint32_t tcp_ack_total_count;
	uint32_t tcp_urg_total_count;
	uint32_t mpls_top_label_stack_section; /* IANA 70 to 72 */
	uint32_t mpls_label_stack_section2;
	uint32_t mpls_label_stack_section3;
	uint32_t fragment_identification; /* IANA 54 */
	uint32_t ipv4_options; /* IANA 208 */
	uint32_t ipv6_extension_headers; /* IANA 64 */
	uint32_t gre_key; /* IANA 296 */
	uint32_t gtpu_teid; /* IANA 507 */
	uint16_t source_port;
	uint16_t destination_port; /* of ICMP: type * 256 + code */
	uint16_t vlan_id;
	uint16_t customer_vlan_id;
	uint16_t fragment_offset; /* IANA 88 */
	uint16_t tcp_window_size; /* IANA 186 and 238, of a SYN */
	uint16_t tcp_window_scale;
	uint8_t protocol;
	uint8_t ip_version;
	uint8_t class_of_service;
	uint8_t ttl;
	uint8_t tcp_flags;
	uint8_t later_fragment;
	uint8_t dropped; /* octets of a GSO packet that none of its segments has */
	uint8_t fragment_flags; /* IANA 197 */
	uint8_t mpls_label_stack_depth; /* IANA 202 */
	uint8_t tcp_syn_seen; /* the packet tells window and scale */
	uint8_t outer_ip_version; /* of the outermost header, where inner ones count; else all of it is 0 */
	uint8_t source[16]; /* an IPv4 address is the first four */
	uint8_t destination[16];
	uint8_t outer_source[16];
	uint8_t outer_destination[16];
	uint8_t pad[3]; /* two meanings are compared octet by octet */
};

struct meaning read_packet(const struct reading *reading);

#endif
