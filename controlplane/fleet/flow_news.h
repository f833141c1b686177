// What nodes of a fleet tell each other of flows that a stranger would get wrong (maglev/rules/sharing.h): a
// datagram's content, and how much of it is taken. Pure.
//
// Services and backends go by digests of their names, for their numbers are each node's own; so it does not
// matter by which revision or state the sender forwards. A word that is lost, late or told twice breaks
// nothing: it is told again, and it ends.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

namespace linimo::fleet {

struct SharedFlow {
  uint64_t hash = 0;
  uint64_t service = 0;   // name_digest of its name
  uint64_t backend = 0;   // and of "pool/address"
  bool ended = false;     // it is to be forgotten
  bool datagram = false;  // the hash is of a datagram in fragments, whose first one went there

  bool operator==(const SharedFlow&) const = default;
};
uint64_t name_digest(std::string_view name);

struct FlowNews {
  static constexpr size_t kMost = 48;  // so that a datagram fits everywhere: 1,400 bytes

  std::string node;  // who says it
  uint64_t instance = 0;
  uint64_t sequence = 0;  // grows with each
  std::vector<SharedFlow> flows;
};

/// At most kMost flows, a name of at most 128 bytes.
std::string encode(const FlowNews& news);
bool is_flow_news(std::string_view content);
tl::expected<FlowNews, std::string> decode_flow_news(std::string_view content);

/// Whose word is taken: of a member's instance that lives, in the order in which it was said, and so many a
/// second.
class FlowNewsGate {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr double kMostPerSecond = 10'000;  // flows, of each node

  /// Is it taken? `instance`: of the member of that name that lives; 0: none does.
  bool admits(const FlowNews& news, uint64_t instance, Time now);
  /// Those that are members no more need not be remembered.
  template <typename IsMember>
  void forget(IsMember is_member) {
    std::erase_if(nodes_, [&](const auto& node) { return !is_member(node.first); });
  }

 private:
  struct Node {
    uint64_t instance = 0, sequence = 0;
    double allowed = kMostPerSecond;
    Time since;
  };
  std::map<std::string, Node> nodes_;
};

}  // namespace linimo::fleet
