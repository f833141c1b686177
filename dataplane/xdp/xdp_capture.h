// A capture by the engine `xdp`: on each interface a filter in the program's place, which sends what the
// capture wants through a build of the program that tells of it, and all else on to the program itself. When
// the capture ends, the program stands there again.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
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

  void read(const Take& take) override { programs_.front()->read(take); }
  uint64_t missed() const override { return programs_.front()->missed(); }
  std::string ended() const override { return ended_; }

  /// Whether one of its filters is on this interface.
  bool stands_on(uint32_t port) const {
    return std::any_of(standing_.begin(), standing_.end(),
                       [port](const Place& place) { return place.port == port; });
  }
  /// Puts the programs back: something is about to change.
  void end(const std::string& why);

 private:
  XdpCapture(std::filesystem::path pin, std::function<void()> on_end)
      : pin_(std::move(pin)), on_end_(std::move(on_end)) {}
  tl::expected<void, std::string> stand(const CaptureRequest& request, const Place& place, int wanted);

  std::filesystem::path pin_;
  std::function<void()> on_end_;
  std::vector<std::unique_ptr<CaptureProgram>> programs_;  // by place
  UniqueFd exits_;                                         // what filters lead to
  std::vector<Place> standing_;
  std::string ended_;
};

}  // namespace linimo::xdp
