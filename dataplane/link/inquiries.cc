#include "dataplane/link/inquiries.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "dataplane/flow/flow_search.h"

namespace linimo {
namespace {

/// `answer`: gets the interface by which the frame would come.
tl::expected<Traced, std::string> traced_by(EngineBase& engine, const protocol::Trace& question,
                                            protocol::Traced& answer) {
  answer.number = question.number;
  if (question.length > sizeof question.frame || question.length < 2 * sizeof(Mac) + 2)
    return tl::unexpected<std::string>("no frame has that length");
  const auto interfaces = engine.interfaces();
  const std::string_view wanted = protocol::text_of(question.interface);
  const auto found = std::ranges::find_if(
      interfaces, [&](const auto& one) { return wanted.empty() || one.first == wanted; });
  if (found == interfaces.end())
    return tl::unexpected(fmt::format("the data plane has no interface {}", wanted));
  std::vector<uint8_t> frame(question.frame, question.frame + question.length);
  const Mac& mac = found->second;
  if (question.addressed != 0) std::copy(mac.begin(), mac.end(), frame.begin());
  std::copy(mac.begin(), mac.end(), answer.mac);
  protocol::set_text(answer.interface, found->first);
  return engine.trace({static_cast<uint32_t>(found - interfaces.begin()), frame});
}

tl::expected<protocol::FoundFlows, std::string> flows_of(EngineBase& engine,
                                                         const protocol::FindFlows& question) {
  const auto live = engine.live();
  if (!live) return tl::unexpected<std::string>("no tables are live yet");
  std::vector<FlowPlace> places;
  auto found = find_flows(*live, engine.flow_tables(), question, places);
  if (!found || places.empty()) return found;
  const auto removed = engine.remove_flows(places);
  if (!removed) return tl::unexpected(removed.error());
  found->cleared = static_cast<uint32_t>(*removed);
  return found;
}

}  // namespace

protocol::Traced answer(EngineBase& engine, const protocol::Trace& question, const SayRoute& say_route) {
  protocol::Traced answer;
  const auto traced = traced_by(engine, question, answer);
  if (!traced) {
    protocol::set_text(answer.error, traced.error());
    return answer;
  }
  answer.told = traced->told;
  if (!traced->frames.empty()) {
    const auto& frame = traced->frames.front();
    answer.length = static_cast<uint16_t>(std::min(frame.size(), sizeof answer.frame));
    std::copy_n(frame.begin(), answer.length, answer.frame);
    protocol::set_text(answer.leaves_by, traced->leaves_by);
  }
  if (answer.told.reached >= LINIMO_TRACE_CHOSEN) say_route(answer.told.backend, answer);
  return answer;
}

protocol::FoundFlows answer(EngineBase& engine, const protocol::FindFlows& question) {
  const auto found = flows_of(engine, question);
  protocol::FoundFlows answer;
  if (found) answer = *found;
  answer.number = question.number;
  if (!found) protocol::set_text(answer.error, found.error());
  return answer;
}

}  // namespace linimo
