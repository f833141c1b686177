// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The XDP program once more, for packets that a capture wants: it forwards them as the other does, and tells
// the process how they came, what became of them, and how they left. It stands on an interface while a
// capture lasts, behind the filter (dataplane/xdp/filter_program.h), which leaves all other packets to the
// other program.

#define LINIMO_CAPTURED
#include "linimo.bpf.c"

const volatile __u32 capture_snap = LINIMO_CAPTURE_SNAP;
const volatile __u32 capture_rate = 0;

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4 << 20);
} capture_ring SEC(".maps");

/* How many bytes of the frame are there now. */
static __always_inline __u32 keep(struct xdp_md* ctx, __u32 length, __u8* to) {
  /* Linux 6.1 takes no bound of a lower half for one of the whole register: the least is 1 by addition. */
  __u64 less_one = (__u64)(length < capture_snap ? length : capture_snap) - 1;
  asm volatile("" : "+r"(less_one));
  if (less_one >= LINIMO_CAPTURE_SNAP) return 0;
  return bpf_xdp_load_bytes(ctx, 0, to, less_one + 1) == 0 ? less_one + 1 : 0;
}

/* False: there have been too many lately. */
__noinline int capture_begin(struct xdp_md* ctx) {
  struct capture_of_cpu* here = capture_here();
  if (!here) return 0;
  const __u64 now = bpf_ktime_get_ns();
  if (!linimo_capture_admits(&here->rate, capture_rate, now)) {
    ++here->missed;
    return 0;
  }
  struct linimo_captured* packet = &here->packet;
  packet->row = row_of_queue(ctx->rx_queue_index);
  packet->time_ns = now;
  packet->outcome = LINIMO_OUTCOME_COUNT;
  packet->backend = packet->service = packet->encapsulation = LINIMO_CAPTURE_NONE;
  packet->in_port = packet->out_port = port_number;
  packet->fragmented = 0;
  packet->in_length = bpf_xdp_get_buff_len(ctx);
  packet->in_kept = keep(ctx, packet->in_length, packet->bytes);
  packet->out_length = packet->out_kept = 0;
  return 1;
}

__noinline int capture_end(struct xdp_md* ctx, int action) {
  struct capture_of_cpu* here = capture_here();
  if (!here) return 0;
  struct linimo_captured* packet = &here->packet;
  const __u32 in = packet->in_kept;
  if (in > LINIMO_CAPTURE_SNAP) return 0;
  __u32 out = 0;
  const int sent = action == XDP_TX || action == XDP_REDIRECT;
  if (sent && packet->outcome != LINIMO_OUTCOME_COUNT && !packet->fragmented) {
    packet->out_length = bpf_xdp_get_buff_len(ctx);
    out = keep(ctx, packet->out_length, packet->bytes + in);
    if (out > LINIMO_CAPTURE_SNAP) return 0;
    packet->out_kept = out;
  }
  const __u32 head = __builtin_offsetof(struct linimo_captured, bytes);
  if (bpf_ringbuf_output(&capture_ring, packet, head + in + out, BPF_RB_NO_WAKEUP) != 0) ++here->missed;
  return 0;
}

SEC("xdp.frags")
int linimo_capture(struct xdp_md* ctx) {
  const int wanted = capture_begin(ctx);
  const int action = linimo_forward(ctx);
  if (wanted) capture_end(ctx, action);
  return action;
}
