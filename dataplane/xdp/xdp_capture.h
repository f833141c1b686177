// A capture by the engine `xdp`: on each interface a filter in the program's place, which sends what the
// capture wants through a build of the program that tells of it, and all else on to the program itself. When
// the capture ends, the program stands there again. The build is loaded in a thread of its own: while the
// verifier reads it, who forwards and probes is not to wait.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/capture/capture.h"
#include "dataplane/xdp/capture_program.h"
#include "maglev/unique_fd.h"

namespace linimo::xdp {

class XdpCapture final : public Capture {
 public:
  /// Where it stands.
  struct Place {
    uint32_t port;
    uint32_t first_row, rows;
    int program;  // descriptors
    int link;
  };

  /// `pin`: where that goes by which packets find their way, also should this process be killed; empty:
  /// nowhere. `on_end`: is called once, at its end.
  static tl::expected<std::unique_ptr<XdpCapture>, std::string> begin(const Program& program,
                                                                      const CaptureRequest& request,
                                                                      const std::vector<Place>& places,
                                                                      const std::filesystem::path& pin,
                                                                      std::function<void()> on_end);
  ~XdpCapture() override;

  bool loading() override;
  void read(const Take& take) override {
    if (!programs_.empty()) programs_.front()->read(take);
  }
  uint64_t missed() const override { return programs_.empty() ? 0 : programs_.front()->missed(); }
  std::string ended() const override { return ended_; }

  /// Whether one of its filters is on this interface, or will be.
  bool stands_on(uint32_t port) const {
    return std::any_of(places_.begin(), places_.end(),
                       [port](const Place& place) { return place.port == port; });
  }
  /// Puts the programs back: something is about to change.
  void end(const std::string& why);

 private:
  using Programs = std::vector<std::unique_ptr<CaptureProgram>>;  // by place

  XdpCapture(CaptureRequest request, std::vector<Place> places, std::filesystem::path pin,
             std::function<void()> on_end)
      : request_(std::move(request)),
        places_(std::move(places)),
        pin_(std::move(pin)),
        on_end_(std::move(on_end)) {}
  tl::expected<void, std::string> stand(const Place& place, int wanted);

  const CaptureRequest request_;
  const std::vector<Place> places_;
  std::filesystem::path pin_;
  std::function<void()> on_end_;
  UniqueFd exits_;  // what filters lead to
  std::future<tl::expected<Programs, std::string>> loading_;
  Programs programs_;
  std::vector<Place> standing_;
  std::string ended_;
};

}  // namespace linimo::xdp
