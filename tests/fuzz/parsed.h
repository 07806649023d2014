/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XFLOWD_PARSED_H
#define XFLOWD_PARSED_H

#include "reference.h"

/* What ebpf/parse.bpf.h, built for the host, makes of a packet. */
struct meaning parse_packet(const struct reading *reading);

#endif
