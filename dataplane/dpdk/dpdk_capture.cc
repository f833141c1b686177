#include "dataplane/dpdk/dpdk_capture.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace linimo::dpdk {
namespace {

constexpr auto kPartingLimit = std::chrono::milliseconds(100);

}  // namespace

DpdkCapture::DpdkCapture(const CaptureRequest& request, std::vector<CaptureSlot*> slots)
    : slots_(std::move(slots)) {
  for (uint32_t worker = 0; worker < slots_.size(); ++worker) {
    parts_.push_back(std::make_unique<WorkerCapture>(request, worker));
    slots_[worker]->offer(parts_.back().get());
  }
}

// A worker that stands still may use its part when it goes on: that memory is left to it.
DpdkCapture::~DpdkCapture() {
  for (CaptureSlot* slot : slots_) slot->offer(nullptr);
  const auto until = std::chrono::steady_clock::now() + kPartingLimit;
  for (size_t worker = 0; worker < slots_.size(); ++worker) {
    while (!slots_[worker]->is_taken_up() && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    if (!slots_[worker]->is_taken_up()) (void)parts_[worker].release();
  }
}

void DpdkCapture::read(const Take& take) {
  for (const auto& part : parts_) {
    if (!part->read(take)) return;
  }
}

uint64_t DpdkCapture::missed() const {
  uint64_t all = 0;
  for (const auto& part : parts_) all += part->missed();
  return all;
}

}  // namespace linimo::dpdk
