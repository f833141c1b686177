/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Numbers as they lie on the wire, and in memory. Little-endian machines only, which both engines ask for.
 */
#ifndef LINIMO_MAGLEV_RULES_BYTES_H
#define LINIMO_MAGLEV_RULES_BYTES_H

#include "maglev/rules/rule.h"

/* From network byte order and back; also of constants. */
#define LINIMO_SWAP16(value) ((__u16)__builtin_bswap16((__u16)(value)))
#define LINIMO_SWAP32(value) ((__u32)__builtin_bswap32((__u32)(value)))
#define LINIMO_SWAP64(value) ((__u64)__builtin_bswap64((__u64)(value)))

#endif
