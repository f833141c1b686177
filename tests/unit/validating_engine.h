// An engine for tests of the link: it forwards nothing, validates what is published, and traces and captures
// what it is given, at once or when the test says so.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "dataplane/engine.h"
#include "tests/unit/snapshot_fixture.h"

namespace linimo {

/// Some are live from the beginning, so that there are flows to ask for.
inline std::vector<std::byte> first_tables() {
  SnapshotSpec spec = two_services();
  spec.generation = 1;
  return build_snapshot(spec);
}

/// Runs the filter over a frame, so that what was taken for one is seen to be.
class MatchingCapture final : public Capture {
 public:
  MatchingCapture(const CaptureRequest& request, const bool& ready) : request_(request), ready_(ready) {}
  bool loading() override { return !ready_; }
  void read(const Take& take) override {
    linimo_captured captured{};
    captured.in_length = captured.in_kept = static_cast<uint16_t>(std::min<uint32_t>(request_.snap, 64));
    const std::vector<uint8_t> frame(captured.in_kept, 0x45);
    if (request_.filter.matches(frame.data(), captured.in_length, captured.in_kept)) take(captured);
  }
  uint64_t missed() const override { return 0; }

 private:
  CaptureRequest request_;
  const bool& ready_;
};

class ValidatingEngine final : public EngineBase {
 public:
  bool ready = true;  // for traces and captures

  tl::expected<void, std::string> publish(std::span<const std::byte> snapshot) override {
    std::vector<std::byte> copy(snapshot.begin(), snapshot.end());
    if (auto view = SnapshotView::validate(copy); !view) return tl::unexpected(view.error());
    live_ = std::move(copy);
    return {};
  }
  std::optional<SnapshotView> live() const override { return SnapshotView::validate(live_).value(); }
  void set_host_addresses(std::vector<Address>) override {}
  NextHopTable& next_hops() override { return next_hops_; }
  std::vector<Egress> egresses() const override { return {}; }
  uint32_t workers() const override { return 1; }
  bool ready_to_trace() override { return ready; }
  tl::expected<Traced, std::string> trace(const TraceRequest& request) override {
    Traced traced;
    traced.frames.emplace_back(request.frame.begin(), request.frame.end());
    traced.leaves_by = "eth0";
    return traced;
  }
  tl::expected<std::unique_ptr<Capture>, std::string> capture(const CaptureRequest& request) override {
    return std::make_unique<MatchingCapture>(request, ready);
  }
  FlowTables flow_tables() const override { return {LINIMO_SECONDS, 1, {{0, words_.data(), 8}}}; }
  std::vector<linimo_flow_word> words_to_tell(size_t) override { return {}; }
  void hear(std::span<const linimo_flow_word> words) override {
    if (words.size() > protocol::FlowWords::kMost) std::abort();
  }
  tl::expected<size_t, std::string> remove_flows(std::span<const FlowPlace> places) override {
    for (const FlowPlace& place : places) words_.at(place.index) = 0;
    return places.size();
  }
  std::vector<std::pair<std::string, Mac>> interfaces() const override { return {{"eth0", Mac{}}}; }
  CountersBlock& counters() override { return counters_; }
  int counters_fd() const override { return -1; }

 private:
  CountersBlock counters_{};
  std::vector<std::byte> live_ = first_tables();
  std::vector<uint64_t> words_ = std::vector<uint64_t>(8 * LINIMO_FLOW_BUCKET, 6);  // entries of service 0
  NextHopTable next_hops_;
};

}  // namespace linimo
