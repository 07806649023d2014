/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XFLOWD_PARSED_H
#define XFLOWD_PARSED_H

#include "reference.h"

/* What ebpf/parse.bpf.h, built for the host, makes of a packet. */
struct meaning parse_packet(const struct reading *reading);

/*
 * Read the details of a frame that is another than the parser has seen: its octet `at` is changed, by an exclusive or,
 * or with a change of 0 it ends there. ebpf/details.bpf.h reads the frame anew, and whatever was in it before, no octet
 * that is not there. That is for a sanitizer to tell; nothing comes of it.
 */
void note_changed_packet(const struct reading *reading, uint32_t at, uint8_t change);

#endif
