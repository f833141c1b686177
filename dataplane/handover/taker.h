// The side of a hand-over that has just been started.
//
//   auto taker = Taker::from_environment();     // nothing: this is a start like any other
//   auto taken = taker->take(prepared);         // waits until the old process has let go
//   ...
//   taker->forwards();
//
// Control thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "dataplane/handover/messages.h"
#include "maglev/unique_fd.h"

namespace linimo::handover {

inline constexpr int kLinkFd = 3;
inline constexpr const char* kVariable = "LINIMO_TAKE_OVER";

/// What only the old process could have.
struct Taken {
  UniqueFd lock;
  UniqueFd probe_device;  // may be none
  UniqueFd guardian, guardian_end;
  std::vector<UniqueFd> taps;
};

class Taker {
 public:
  /// Before there are threads.
  static std::optional<Taker> from_environment();

  /// The error says why nothing was taken: this process is to end.
  tl::expected<Taken, std::string> take(const Prepared& prepared);
  void forwards();
  /// Tells the old process why this one ends.
  void fail(const std::string& why);

 private:
  explicit Taker(UniqueFd link) : link_(std::move(link)) {}

  UniqueFd link_;
};

}  // namespace linimo::handover
