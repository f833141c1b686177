/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The XDP engine between two steps that make BPF_PROG_TEST_RUN's repetition mean something. The kernel hands
 * the very same frame to every run, as the one before left it: so this program first makes it the next
 * flow's, and afterwards takes the tunnel off again. `frame_only` and `frame_and_heads` are those steps
 * without the engine: what they cost is not the engine's. The engine moves the packet's start once itself,
 * which is its own work: the two differ by moving it there and back, so that half of the difference is known
 * too.
 */
#include "bpf/linimo.bpf.c"

#define BENCH_MULTIPLIER \
  2654435761u /* odd: a permutation of the flows; far from the last one in every table */

volatile const __u32 bench_flow_mask;     /* flows - 1, flows a power of two */
volatile const __u32 bench_packets_shift; /* 1: two packets of each flow, SYN and ACK */
volatile const __u32 bench_overhead;      /* bytes of tunnel that the engine puts on */
volatile const __u32 bench_action;        /* that it must return */
volatile const __u8 bench_ethernet[ETH_HLEN];

__u64 bench_packets; /* counts on from run to run */
__u64 bench_unexpected;

/* The next flow: 16 bits of the source address, 16 of the port. What the address adds to IPv4's checksum, the
 * identification takes away. */
static __always_inline int bench_next_frame(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  const __u32 packet = bench_packets++;
  const __u32 flow = (packet >> bench_packets_shift) * BENCH_MULTIPLIER & bench_flow_mask;
  struct ethhdr* eth = data;
  struct tcphdr* tcp;
  if (data + sizeof(*eth) + sizeof(struct ipv6hdr) + sizeof(*tcp) <= data_end &&
      eth->h_proto == bpf_htons(ETH_P_IPV6)) {
    struct ipv6hdr* ip = (void*)(eth + 1);
    ip->saddr.in6_u.u6_addr16[7] = flow >> 16;
    tcp = (void*)(ip + 1);
  } else if (data + sizeof(*eth) + sizeof(struct iphdr) + sizeof(*tcp) <= data_end) {
    struct iphdr* ip = (void*)(eth + 1);
    ((__u16*)&ip->saddr)[1] = flow >> 16;
    ip->id = ~(flow >> 16);
    tcp = (void*)(ip + 1);
  } else {
    return 0;
  }
  tcp->source = flow;
  if (bench_packets_shift != 0) {
    tcp->syn = !(packet & 1);
    tcp->ack = packet & 1;
  }
  return 1;
}

static __always_inline int bench_restore(struct xdp_md* ctx) {
  if (bench_overhead == 0) return 1;
  if (bpf_xdp_adjust_head(ctx, bench_overhead)) return 0;
  void* data = (void*)(long)ctx->data;
  if (data + ETH_HLEN > (void*)(long)ctx->data_end) return 0;
  for (int i = 0; i < ETH_HLEN; ++i) ((__u8*)data)[i] = bench_ethernet[i];
  return 1;
}

static __always_inline int bench_end(struct xdp_md* ctx, __u32 action) {
  if (action != bench_action) ++bench_unexpected;
  if (action == XDP_PASS) return action;
  return bench_restore(ctx) ? (int)action : XDP_ABORTED;
}

/* The whole path, by a tail call as in the engine. */
struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} bench_whole_path SEC(".maps");

SEC("xdp.frags")
int bench_whole(struct xdp_md* ctx) {
  return bench_end(ctx, linimo_forward(ctx));
}

SEC("xdp.frags")
int bench_engine(struct xdp_md* ctx) {
  if (!bench_next_frame(ctx)) return XDP_ABORTED;
  const int action = straight(ctx);
  if (action == (int)kWholePath) bpf_tail_call(ctx, &bench_whole_path, 0);
  return bench_end(ctx, action);
}

SEC("xdp.frags")
int bench_frame_and_heads(struct xdp_md* ctx) {
  if (!bench_next_frame(ctx)) return XDP_ABORTED;
  if (bench_overhead != 0 && bpf_xdp_adjust_head(ctx, -(int)bench_overhead)) return XDP_ABORTED;
  return bench_restore(ctx) ? XDP_PASS : XDP_ABORTED;
}

SEC("xdp.frags")
int bench_frame_only(struct xdp_md* ctx) {
  return bench_next_frame(ctx) ? XDP_PASS : XDP_ABORTED;
}
