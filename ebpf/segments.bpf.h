/* SPDX-License-Identifier: GPL-2.0-only */
/* How many packets a GSO packet stands for on the wire, and how long they are with all their headers. */
#ifndef XFLOWD_SEGMENTS_BPF_H
#define XFLOWD_SEGMENTS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "maps.bpf.h"
#include "packet.bpf.h"
#include "point.bpf.h"
#include "tunnel.bpf.h"

#define TUNNEL_OFFSET_MASK 0x7fff /* for the verifier, as IPV6_EXTENSIONS_MASK */

/*
 * What tunnel_headers_length() says. The verifier takes a global function by itself, and once: within the programs it
 * would follow each of their ways through it.
 */
__noinline int read_tunnel(struct __sk_buff *skb, __u32 offset, __u32 protocol, __u32 segment_size)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	return tunnel_headers_length(data + (offset & TUNNEL_OFFSET_MASK), end, protocol, segment_size);
}

/*
 * How long the headers of each segment are, where more than the outermost ones are repeated. In a tunnel that is not
 * known here they are as long as the kernel takes them to be: it has added all but the first segment's to the length
 * at egress. Elsewhere wire_len is the length as it is.
 */
static __always_inline void add_tunnel_headers(struct __sk_buff *skb, const struct flow_key *key,
					       struct packet *packet)
{
	__u32 offset = tunnel_offset(packet, key), length;
	__s32 told;

	length = read_tunnel(skb, offset, key->protocol_identifier, packet->segment_size);
	if (length) {
		packet->headers_length = offset - packet->ip_offset + length;
		return;
	}
	if (packet->segments == 1 || skb->wire_len <= skb->len)
		return;
	told = (skb->wire_len - skb->len) / (packet->segments - 1) - packet->ip_offset;
	if (told > (__s32)packet->headers_length)
		packet->headers_length = told;
}

/*
 * A GSO packet from a guest or a packet socket does not say how many packets it stands for: that takes its headers,
 * so it was seen, and sampled, as one. Now the rest of it is. Returns the packets to meter.
 */
static __always_inline __u32 count_hidden_segments(struct observation_point *point, struct packet *packet,
						   __u32 packets)
{
	__u32 payload = packet->length - packet->ip_offset - packet->headers_length;
	__u32 segments = (payload + packet->segment_size - 1) / packet->segment_size;

	if (segments <= 1 || payload > packet->length)
		return packets;
	packet->segments = segments;
	count(point, PACKETS_SEEN, segments - 1);
	if (config.sampling_rate == 1)
		return segments;
	count(point, PACKETS_SAMPLED_OUT, segments - 1);
	return packets;
}

/* What the parser has not seen of a GSO packet: its inner headers, its segments. Returns the packets to meter. */
static __always_inline __u32 count_segments(struct __sk_buff *skb, struct observation_point *point,
					    const struct flow_key *key, struct packet *packet, __u32 packets)
{
	if (key->protocol_identifier != PROTOCOL_TCP && !packet->fragment)
		add_tunnel_headers(skb, key, packet);
	if (packet->segments == 1)
		packets = count_hidden_segments(point, packet, packets);
	spread_segments(packet);
	return packets;
}

#endif
