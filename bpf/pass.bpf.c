// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Passes everything. A veth takes the frames that a program on its other end sends back (XDP_TX) only if it
// has a program itself: without one nothing wakes it up.

// clang-format off
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
// clang-format on

SEC("xdp.frags")
int pass(struct xdp_md* ctx) {
  (void)ctx;
  return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
