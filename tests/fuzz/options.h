/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XFLOWD_OPTIONS_H
#define XFLOWD_OPTIONS_H

#include "reference.h"

/* Options between two places as ipv4Options (IANA 208) has them; all of them are in the frame. */
uint32_t ipv4_options_seen(const struct reading *reading, uint32_t at, uint32_t stop);

/* The bit of ipv6ExtensionHeaders (IANA 64) for an extension header; `later`: of another fragment than the first. */
uint32_t extension_header_seen(uint32_t kind, uint32_t later);

/* What a TCP header behind its flags says, and its options; `end` is the packet's, by its own length. */
void read_tcp(const struct reading *reading, struct meaning *meaning, uint32_t at, uint32_t end);

/* How many of the segments have each flag. */
void count_flags(struct meaning *meaning, uint32_t segments);

#endif
