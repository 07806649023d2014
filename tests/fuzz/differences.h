/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XFLOWD_DIFFERENCES_H
#define XFLOWD_DIFFERENCES_H

#include "reference.h"

/* Whether two readings of a packet are the same one. */
int same_meaning(const struct meaning *a, const struct meaning *b);

/* The packet and the two readings of it, field by field, as text for whoever has to tell which is right. */
void print_difference(const struct reading *reading, const struct meaning *parsed, const struct meaning *reference);

#endif
