/* SPDX-License-Identifier: GPL-2.0-only */
/* The frame by offsets from its first octet, for the reference alone. */
#ifndef XFLOWD_OCTETS_H
#define XFLOWD_OCTETS_H

#include "reference.h"

static inline uint32_t octet(const struct reading *r, uint32_t at)
{
	return r->frame[at];
}

static inline uint32_t two(const struct reading *r, uint32_t at)
{
	return octet(r, at) << 8 | octet(r, at + 1);
}

static inline uint32_t four(const struct reading *r, uint32_t at)
{
	return two(r, at) << 16 | two(r, at + 2);
}

/* Where the packet ends by its own length: what an Ethernet frame has behind that is padding (RFC 894). */
static inline int belongs(const struct reading *r, uint32_t end, uint32_t at, uint32_t octets)
{
	return (r->segment_size || at + octets <= end) && at + octets <= r->length;
}

static inline int there(const struct reading *r, uint32_t at, uint32_t octets)
{
	return at + octets <= r->length;
}

#endif
