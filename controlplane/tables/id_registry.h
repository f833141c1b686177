// Small numbers that stand for names: connection tables and counters hold them in the name's place.
//
//   IdRegistry backends(LINIMO_MAX_BACKEND_IDS);
//   if (!backends.hold({"web/10.0.1.1", "web/10.0.1.2"}, now, rest)) ...   // no free number
//   uint32_t id = *backends.find("web/10.0.1.1");
//
// A name keeps its number while it is held, and gets the same one back when it returns. A number that was
// given back goes to another name only after it has rested for as long as any connection table may remember
// it. Pure; time is a parameter.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace linimo {

class IdRegistry {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct Entry {
    uint32_t id = 0;
    bool held = true;
    Time released{};  // while not held
  };

  explicit IdRegistry(uint32_t limit) : limit_(limit) {}

  /// Makes exactly these names the held ones; names that are not among them give their numbers back. False,
  /// and nothing has changed, when there are not enough numbers that have rested.
  bool hold(const std::set<std::string>& names, Time now, std::chrono::seconds rest);

  /// States that a name has a number, as somebody who knows says; whatever contradicts it is forgotten. A
  /// name that is not held rests from `now` on. False when the number is out of range.
  bool learn(std::string_view name, uint32_t id, bool held, Time now);

  /// Rises with every change.
  uint64_t version() const { return version_; }

  /// Numbers that no name holds.
  size_t free() const { return limit_ - (entries_.size() - resting_.size()); }

  std::optional<uint32_t> find(std::string_view name) const;
  const std::map<std::string, Entry, std::less<>>& entries() const { return entries_; }

 private:
  bool take(const std::string& name, Time now, std::chrono::seconds rest);
  void put(const std::string& name, uint32_t id);
  void forget(const std::string& name);

  uint32_t limit_;
  uint64_t version_ = 0;
  uint32_t fresh_ = 0;  // numbers from here on were never given to anybody
  std::map<std::string, Entry, std::less<>> entries_;
  std::map<uint32_t, std::string> names_;           // of each number in entries_
  std::set<std::pair<Time, std::string>> resting_;  // the longest resting first
};

}  // namespace linimo
