// The engine `xdp`, as the suite drives it: the real program in the kernel, one frame at a time
// (BPF_PROG_TEST_RUN), without netdevs.
#pragma once

#include <array>
#include <memory>

#include "dataplane/xdp/program.h"
#include "tests/packets/engine.h"

namespace linimo::tests {

class XdpEngine : public Engine {
 public:
  XdpEngine();

  void apply(const Configuration& configuration) override;
  void forget_flows() override { program_->forget_flows(); }
  Result run(ByteView frame, uint64_t now_ms) override;
  std::vector<Result> settle(uint64_t now_ms) override;

 private:
  using Counts = std::array<uint64_t, LINIMO_OUTCOME_COUNT>;
  Counts outcomes();
  uint32_t port_of(const Bytes& frame) const;

  std::unique_ptr<xdp::Program> program_;
  int fd_;
  std::vector<Mac> port_macs_;
};

/// One for the whole program: loading takes the kernel a while.
XdpEngine& xdp_engine();

}  // namespace linimo::tests
