// A capture by all workers of the engine `dpdk`.
#pragma once

#include <memory>
#include <vector>

#include "dataplane/dpdk/worker_capture.h"

namespace linimo::dpdk {

class DpdkCapture final : public Capture {
 public:
  /// `slots`: of the workers, in their order; they must outlive it.
  DpdkCapture(const CaptureRequest& request, std::vector<CaptureSlot*> slots);
  ~DpdkCapture() override;

  void read(const Take& take) override;
  uint64_t missed() const override;

 private:
  std::vector<CaptureSlot*> slots_;
  std::vector<std::unique_ptr<WorkerCapture>> parts_;
};

}  // namespace linimo::dpdk
