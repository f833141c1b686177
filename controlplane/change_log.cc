#include "controlplane/change_log.h"

namespace linimo {
namespace {

constexpr size_t kNamed = 5;

}  // namespace

void ChangeLog::note(const HealthMonitor::Change& change) {
  if (!running_) begin_period();
  const std::string from = standing_text(change.before);
  const std::string to = standing_text(change.after);
  if (lines_ < kLines) {
    ++lines_;
    const bool state_changed = change.before.health != change.after.health;
    events_.note(EventKind::kHealth, log_info,
                 state_changed ? "backend state changed" : "backend standing changed",
                 {{"pool", change.backend.pool},
                  {"backend", change.backend.address.to_string()},
                  {"from", from},
                  {"to", to},
                  {"why", change.why}});
    return;
  }
  Many& many = others_[{change.backend.pool, from, to}];
  if (many.count == 0) many.why = change.why;
  if (++many.count <= kNamed)
    many.backends += (many.count == 1 ? "" : ",") + change.backend.address.to_string();
  if (many.count == kNamed + 1) many.backends += ",...";
}

void ChangeLog::begin_period() {
  running_ = true;
  lines_ = 0;
  timer_.expires_after(kPeriod);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) end_period();
  });
}

void ChangeLog::end_period() {
  running_ = false;
  for (const auto& [kind, many] : others_) {
    const auto& [pool, from, to] = kind;
    events_.note(EventKind::kHealth, log_info, "more backends changed",
                 {{"pool", pool},
                  {"count", many.count},
                  {"from", from},
                  {"to", to},
                  {"backends", many.backends},
                  {"why", many.why}});
  }
  if (!others_.empty()) begin_period();  // a storm goes on
  others_.clear();
}

}  // namespace linimo
