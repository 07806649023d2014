/* SPDX-License-Identifier: GPL-2.0-only */
/* In the place of libbpf's header where the parser is built for the host: it calls no helper. */
#ifndef XFLOWD_HOST_BPF_HELPERS_H
#define XFLOWD_HOST_BPF_HELPERS_H

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))

#endif
