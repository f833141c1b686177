// The conditions that the data plane watches (maglev/condition.h), as they are now. What watches something
// says `set` as often as it looks; only changes are logged and go on to the control plane.
//
//   board.set("carrier", "eth0", ConditionState::kFails, "no carrier", "check the cable");
//
// Control thread only.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "maglev/condition.h"

namespace linimo {

class ConditionBoard {
 public:
  struct Entry {
    ConditionState state = ConditionState::kUnknown;
    std::string evidence;  // what was seen
    std::string mend;      // a command that mends it, where there is one
  };
  using Key = std::pair<std::string, std::string>;  // name, subject
  using Entries = std::map<Key, Entry>;
  /// `entry` is null when the condition is no longer watched.
  using OnChange = std::function<void(const Key& key, const Entry* entry)>;

  /// A new wording of what has failed before is told on, and is no line in the log.
  void set(std::string_view name, std::string_view subject, ConditionState state,
           std::string_view evidence = {}, std::string_view mend = {});
  void forget(std::string_view name, std::string_view subject);

  /// The kernel device that routes point at which announce VIPs by this interface.
  void announce_by(std::string_view interface, std::string_view device);
  std::string_view device_of(const std::string& interface) const;

  const Entries& entries() const { return entries_; }
  void on_change(OnChange on_change) { on_change_ = std::move(on_change); }
  static void nobody(const Key&, const Entry*) {}

 private:
  Entries entries_;
  std::map<std::string, std::string> devices_;
  OnChange on_change_ = nobody;
};

}  // namespace linimo
