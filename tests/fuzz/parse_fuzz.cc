// The parser by itself, over any bytes: it reads nothing behind them, and what it promises of them is true.

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "dataplane/nexthop/path_mtu.h"
#include "dataplane/packet/parse.h"

using namespace linimo::packet;

namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

void parse(const uint8_t* data, size_t size, HeaderChecksum checksum) {
  Frame frame;
  if (!locate(data, static_cast<uint32_t>(size), frame)) return;
  require(frame.ip == data + frame.ip_offset);
  require(frame.ip_offset + size_t{frame.available} <= size);
  Flow flow;
  const Verdict verdict = judge(frame, checksum, flow);
  if (verdict != Verdict::kFlow) return;
  require(flow.ip_length <= frame.available);
  require(flow.protocol == kTcp || flow.protocol == kUdp);
  require(flow.l4_offset >= (frame.is_v6 ? sizeof(Ipv6) : sizeof(Ipv4)));
  require(flow.l4_offset + (flow.protocol == kTcp ? sizeof(Tcp) : sizeof(Udp)) <= flow.ip_length);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0xffff) return -1;
  Frame frame;
  const auto length = static_cast<uint32_t>(size);
  is_control(data, length, locate(data, length, frame) ? &frame : nullptr);
  parse(data, size, HeaderChecksum::kUnknown);
  linimo::too_big_message4({data, size});
  linimo::too_big_message6({data, size});
  // Most random headers have a wrong checksum, and would be judged no further.
  parse(data, size, HeaderChecksum::kGood);
  return 0;
}
