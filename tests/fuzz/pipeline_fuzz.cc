// The whole packet path, over any bytes: one input is one frame, sent twice, so that the second finds the
// entry that the first may have made. Each input starts without flows, so that one that fails does so again.

#include <cstdio>
#include <cstdlib>
#include <string>

#include <rte_mbuf.h>

#include "tests/packets/burst_check.h"
#include "tests/packets/case_file.h"

using namespace linimo::tests;

namespace {

constexpr size_t kLongest = 1600;  // beyond any frame of an Ethernet without jumbo frames
constexpr uint64_t kFlows = 64;

DpdkEngine& started_engine() {
  static DpdkEngine& engine = []() -> DpdkEngine& {
    dpdk_engine().apply(case_file().configuration);
    return dpdk_engine();
  }();
  return engine;
}

void run(DpdkEngine& engine, ByteView frame, uint64_t now_ms, uint64_t nic_flags) {
  const std::string fault = fault_of_burst({&frame, 1}, engine.run_burst({&frame, 1}, now_ms, nic_flags),
                                           case_file().configuration);
  if (fault.empty()) return;
  std::fprintf(stderr, "%s\n", fault.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > kLongest) return -1;
  DpdkEngine& engine = started_engine();
  engine.forget_flows(kFlows);
  run(engine, {data, size}, 1000, 0);
  run(engine, {data, size}, 2000, RTE_MBUF_F_RX_IP_CKSUM_GOOD);
  return 0;
}
