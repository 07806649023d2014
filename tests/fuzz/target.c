// SPDX-License-Identifier: GPL-2.0-only
/*
 * libFuzzer's target. An input is six octets that say how the packet comes to its hook, and the packet:
 *   0    bits of enum input_bit
 *   1    segments of a GSO packet
 *   2-3  and their payload
 *   4-5  TCI of a VLAN tag taken off before; of a GSO packet also how many octets of it cannot be read
 * The packet without link layer begins two octets later, so that either kind lies as the network stack aligns it:
 * the IP header at a multiple of four (NET_IP_ALIGN).
 */
#include <stdint.h>
#include <stdlib.h>

#include "differences.h"
#include "parsed.h"
#include "reference.h"

enum input_bit {
	INPUT_NO_LINK_LAYER = 1,
	INPUT_TAG_TAKEN = 2,
	INPUT_GSO = 4,
	INPUT_IPV6 = 8, /* the type of a packet without link layer */
	INPUT_INSIDE = 32, /* inner headers count */
	INPUT_OTHER = 16, /* neither: MPLS, or what is not known */
	INPUT_CHANGED = 64, /* before the details: its octet TCI by octet 1 of the input, or by 0: it ends there */
};

#define ETHERNET_AT 6
#define NETWORK_AT 8

static uint32_t network_type(uint8_t bits)
{
	if (bits & INPUT_OTHER)
		return bits & INPUT_IPV6 ? 0x0806 : 0x8847;
	return bits & INPUT_IPV6 ? 0x86dd : 0x0800;
}

/* Segments and their size as a hook takes them from an skb: one that says one segment has none, and the reverse. */
static void add_segments(struct reading *reading, const uint8_t *data)
{
	reading->segment_size = data[1] == 1 ? 0 : data[2] << 8 | data[3];
	reading->segments = data[1] && reading->segment_size ? data[1] : 1;
	reading->whole_length += data[4] << 8 | data[5];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t begin = size && data[0] & INPUT_NO_LINK_LAYER ? NETWORK_AT : ETHERNET_AT;
	struct meaning parsed, reference;
	struct reading reading;

	if (size < begin)
		return -1;
	reading = (struct reading){
		.frame = data + begin,
		.length = size - begin,
		.has_ethernet = begin == ETHERNET_AT,
		.ether_type = network_type(data[0]),
		.tag_taken = !!(data[0] & INPUT_TAG_TAKEN),
		.tci = data[4] << 8 | data[5],
		.whole_length = size - begin,
		.segments = 1,
		.inside = !!(data[0] & INPUT_INSIDE),
	};
	if (data[0] & INPUT_GSO)
		add_segments(&reading, data);
	if (data[0] & INPUT_CHANGED)
		note_changed_packet(&reading, reading.tci, data[1]);
	parsed = parse_packet(&reading);
	reference = read_packet(&reading);
	if (same_meaning(&parsed, &reference))
		return 0;
	print_difference(&reading, &parsed, &reference);
	abort();
}
