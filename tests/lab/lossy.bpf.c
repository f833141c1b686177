// Loses a part of a node's heartbeats on their way out: PERCENT of the datagrams to PORT. The lab's kernel
// need not have netem.

// bpf_helpers.h takes its types from linux/bpf.h, which must come first.
// clang-format off
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
// clang-format on

SEC("tc")
int lossy(struct __sk_buff* frame) {
  struct iphdr ip;
  struct udphdr udp;
  if (frame->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(frame, ETH_HLEN, &ip, sizeof ip) < 0 ||
      ip.protocol != IPPROTO_UDP || bpf_skb_load_bytes(frame, ETH_HLEN + ip.ihl * 4, &udp, sizeof udp) < 0 ||
      udp.dest != bpf_htons(PORT))
    return TC_ACT_OK;
  return bpf_get_prandom_u32() % 100 < PERCENT ? TC_ACT_SHOT : TC_ACT_OK;
}
