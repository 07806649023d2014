// SPDX-License-Identifier: GPL-2.0-only
/*
 * Options, extension headers and TCP's details for the reference, by the RFCs and by the tables that IANA's registry of
 * Information Elements has.
 *
 * The choices of xflowd:
 *   - Bit 0 is the first on the wire.
 *   - An option is told by its type alone, also where it ends behind the header. One of a length below two is the last.
 *   - Options and window are told of a TCP header of which the twenty octets are there; of two scales the last.
 *   - FIN and PSH of a GSO packet are the last segment's, the other flags each has.
 */
#include <stddef.h>

#include "octets.h"
#include "options.h"

struct numbered {
	uint8_t bit;
	uint8_t number;
};

/* IANA 208: bit and type as its pictures have them; the list below these has 147 and 148 the other way round. */
static const struct numbered ipv4_options[] = {
	{ 0, 7 },    { 1, 134 },  { 2, 133 },  { 3, 68 },   { 4, 131 },	 { 5, 130 },  { 6, 1 },	   { 7, 0 },
	{ 8, 15 },   { 9, 142 },  { 10, 205 }, { 11, 12 },  { 12, 11 },	 { 13, 10 },  { 14, 137 }, { 15, 136 },
	{ 16, 151 }, { 17, 150 }, { 18, 149 }, { 19, 148 }, { 20, 147 }, { 21, 82 },  { 22, 145 }, { 23, 144 },
	{ 25, 30 },  { 25, 94 },  { 25, 158 }, { 25, 222 }, { 30, 25 },	 { 31, 152 },
};

/* IANA 64; of 44 there are two, see below. */
static const struct numbered extension_headers[] = {
	{ 0, 60 }, { 1, 0 }, { 5, 43 }, { 12, 135 }, { 13, 50 }, { 14, 51 }, { 15, 108 },
};

static uint32_t bit_of(const struct numbered *table, size_t size, uint32_t number)
{
	for (size_t i = 0; i < size; i++)
		if (table[i].number == number)
			return 0x80000000 >> table[i].bit;
	return 0;
}

uint32_t extension_header_seen(uint32_t kind, uint32_t later)
{
	if (kind == 44)
		return 0x80000000 >> (later ? 6 : 4);
	return bit_of(extension_headers, sizeof(extension_headers) / sizeof(extension_headers[0]), kind);
}

/* RFC 791 3.1, RFC 9293 3.1: where the next option begins; `stop` where this one is the last. */
static uint32_t next_option(const struct reading *r, uint32_t at, uint32_t stop)
{
	if (octet(r, at) == 0)
		return stop;
	if (octet(r, at) == 1)
		return at + 1;
	return at + 1 < stop && octet(r, at + 1) >= 2 ? at + octet(r, at + 1) : stop;
}

uint32_t ipv4_options_seen(const struct reading *r, uint32_t at, uint32_t stop)
{
	uint32_t seen = 0;

	for (; at < stop; at = next_option(r, at, stop))
		seen |= bit_of(ipv4_options, sizeof(ipv4_options) / sizeof(ipv4_options[0]), octet(r, at));
	return seen;
}

/* IANA 209 draws eight kinds a row, from the right to the left. */
static uint64_t tcp_option_seen(uint32_t kind)
{
	return kind < 64 ? 0x8000000000000000 >> (kind / 8 * 8 + 7 - kind % 8) : 0;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* RFC 9293 3.1; the scale by RFC 7323 2.2: three octets, all of them in the header. */
void read_tcp(const struct reading *r, struct meaning *m, uint32_t at, uint32_t end)
{
	uint32_t option = at + 20, stop, scale = 0;

	if (!belongs(r, end, at, 20))
		return;
	stop = least(at + octet(r, at + 12) / 16 * 4, r->length);
	if (!r->segment_size)
		stop = least(stop, end);
	for (; option < stop; option = next_option(r, option, stop)) {
		m->tcp_options |= tcp_option_seen(octet(r, option));
		if (octet(r, option) == 3 && option + 3 <= stop && octet(r, option + 1) == 3)
			scale = octet(r, option + 2);
	}
	m->tcp_syn_seen = octet(r, at + 13) / 2 % 2;
	if (!m->tcp_syn_seen)
		return;
	m->tcp_window_size = two(r, at + 14);
	m->tcp_window_scale = scale;
}

/* RFC 9293 3.1: from the lowest bit on FIN, SYN, RST, PSH, ACK, URG. */
void count_flags(struct meaning *m, uint32_t segments)
{
	m->tcp_fin_total_count = m->tcp_flags & 1 ? 1 : 0;
	m->tcp_syn_total_count = m->tcp_flags & 2 ? segments : 0;
	m->tcp_rst_total_count = m->tcp_flags & 4 ? segments : 0;
	m->tcp_psh_total_count = m->tcp_flags & 8 ? 1 : 0;
	m->tcp_ack_total_count = m->tcp_flags & 16 ? segments : 0;
	m->tcp_urg_total_count = m->tcp_flags & 32 ? segments : 0;
}
