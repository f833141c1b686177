// A capture that an engine makes (linimo capture, linimo trace --live): copies of the packets that a filter
// wants, each with what became of it, taken by the code that forwards it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "dataplane/capture/filter.h"
#include "maglev/rules/capture.h"

namespace linimo {

struct CaptureRequest {
  Filter filter;
  uint32_t snap;  // bytes to keep of each frame, at most LINIMO_CAPTURE_SNAP
  uint32_t rate;  // packets a second of each worker or CPU
};

/// Ends with the object. Where it has no room, or packets come faster than they may, packets are missed and
/// counted, never delayed. Control thread.
class Capture {
 public:
  virtual ~Capture() = default;

  /// Whether it has yet to begin. An engine that has to load something first, which may take a second, does
  /// that beside the control thread, and begins once this is asked for. Then it captures, or has ended.
  virtual bool loading() { return false; }

  /// Shows what has been captured, the oldest of each worker first, until there is no more or `take` says
  /// false: that one is shown again the next time.
  using Take = std::function<bool(linimo_captured& captured)>;
  virtual void read(const Take& take) = 0;
  /// Packets that the filter wanted and nobody will see.
  virtual uint64_t missed() const = 0;
  /// Why it captures no more; empty: it does.
  virtual std::string ended() const { return {}; }
};

}  // namespace linimo
