#include "controlplane/fleet/flow_news.h"

#include <algorithm>
#include <cstring>

#include <xxhash.h>

namespace linimo::fleet {
namespace {

constexpr std::string_view kMark = "flows1\n";  // nothing else that nodes send begins like this
constexpr size_t kFlowBytes = 3 * sizeof(uint64_t) + 1;
constexpr size_t kLongestName = 128;
enum class Kind : uint8_t { kGoes, kEnded, kDatagram };

/// Least significant byte first.
void put(std::string& out, uint64_t number) {
  for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>(number >> shift));
}

uint64_t take(std::string_view& from) {
  uint64_t number = 0;
  for (size_t i = 0; i < sizeof number; ++i) number |= uint64_t{static_cast<uint8_t>(from[i])} << 8 * i;
  from.remove_prefix(sizeof number);
  return number;
}

}  // namespace

uint64_t name_digest(std::string_view name) {
  return XXH3_64bits(name.data(), name.size());
}

std::string encode(const FlowNews& news) {
  std::string out(kMark);
  out.push_back(static_cast<char>(news.node.size()));
  out += news.node;
  put(out, news.instance);
  put(out, news.sequence);
  for (const SharedFlow& flow : news.flows) {
    put(out, flow.hash);
    put(out, flow.service);
    put(out, flow.backend);
    out.push_back(static_cast<char>(flow.datagram ? Kind::kDatagram
                                    : flow.ended  ? Kind::kEnded
                                                  : Kind::kGoes));
  }
  return out;
}

bool is_flow_news(std::string_view content) {
  return content.starts_with(kMark);
}

tl::expected<FlowNews, std::string> decode_flow_news(std::string_view content) {
  const auto wrong = [](const char* what) { return tl::unexpected(std::string(what)); };
  if (!is_flow_news(content) || content.size() == kMark.size()) return wrong("no news of flows");
  content.remove_prefix(kMark.size());
  const size_t name = static_cast<uint8_t>(content.front());
  content.remove_prefix(1);
  if (name == 0 || name > kLongestName) return wrong("a node's name of no sensible length");
  if (content.size() < name + 2 * sizeof(uint64_t)) return wrong("cut short");
  FlowNews news;
  news.node = content.substr(0, name);
  content.remove_prefix(name);
  news.instance = take(content);
  news.sequence = take(content);
  if (content.size() % kFlowBytes != 0) return wrong("cut short");
  if (content.size() / kFlowBytes > FlowNews::kMost) return wrong("more flows than a datagram has");
  while (!content.empty()) {
    SharedFlow flow;
    flow.hash = take(content);
    flow.service = take(content);
    flow.backend = take(content);
    const auto kind = static_cast<Kind>(content.front());
    if (kind > Kind::kDatagram) return wrong("a flow that neither goes nor has ended, and no datagram");
    flow.ended = kind == Kind::kEnded;
    flow.datagram = kind == Kind::kDatagram;
    content.remove_prefix(1);
    news.flows.push_back(flow);
  }
  return news;
}

bool FlowNewsGate::admits(const FlowNews& news, uint64_t instance, Time now) {
  if (instance == 0 || news.instance != instance) return false;
  const auto [found, is_new] = nodes_.try_emplace(news.node);
  Node& node = found->second;
  if (is_new) node.since = now;
  if (std::pair(news.instance, news.sequence) <= std::pair(node.instance, node.sequence)) return false;
  node.instance = news.instance;
  node.sequence = news.sequence;
  const double passed = std::chrono::duration<double>(now - node.since).count();
  node.allowed = std::min(node.allowed + passed * kMostPerSecond, kMostPerSecond);
  node.since = now;
  const auto wanted = static_cast<double>(news.flows.size());
  if (wanted > node.allowed) return false;
  node.allowed -= wanted;
  return true;
}

}  // namespace linimo::fleet
