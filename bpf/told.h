/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What the traced build of the program tells (maglev/trace.h), where the process reads it. The process runs
 * one frame at a time.
 */
#ifndef LINIMO_BPF_TOLD_H
#define LINIMO_BPF_TOLD_H

#include "maglev/trace.h"

#ifdef LINIMO_TRACED
struct linimo_trace told;
#endif

#endif
