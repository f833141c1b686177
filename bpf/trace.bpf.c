// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The XDP program once more, as it tells what it would do with one packet, and leaves everything as it is.
// The process runs it over the live maps, by BPF_PROG_TEST_RUN; it is attached to nothing.

#define LINIMO_TRACED
#include "linimo.bpf.c"
