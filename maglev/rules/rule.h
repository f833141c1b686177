/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What every rule of this folder is made of: plain C of GNU's dialect that clang compiles for BPF, and g++
 * and clang++ for the process. A rule is a function of values. It knows no map, calls nobody and keeps
 * nothing; what it has to read of a packet its caller has loaded, within the bounds that the verifier wants
 * to see.
 */
#ifndef LINIMO_MAGLEV_RULES_RULE_H
#define LINIMO_MAGLEV_RULES_RULE_H

#include <linux/types.h>

#ifdef LINIMO_COVERAGE /* one copy of each, so that a branch is counted once and not for each caller */
#define LINIMO_RULE static inline
#else
#define LINIMO_RULE static inline __attribute__((always_inline))
#endif

#define LINIMO_GOLDEN_RATIO 0x9e3779b97f4a7c15ULL /* 2^64 / phi: spreads whatever is multiplied by it */

#endif
