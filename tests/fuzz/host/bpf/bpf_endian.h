/* SPDX-License-Identifier: GPL-2.0-only */
/* In the place of libbpf's header where the parser is built for the host. */
#ifndef XFLOWD_HOST_BPF_ENDIAN_H
#define XFLOWD_HOST_BPF_ENDIAN_H

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define bpf_htons(x) __builtin_bswap16(x)
#define bpf_htonl(x) __builtin_bswap32(x)
#else
#define bpf_htons(x) (x)
#define bpf_htonl(x) (x)
#endif
#define bpf_ntohs(x) bpf_htons(x)
#define bpf_ntohl(x) bpf_htonl(x)

#endif
