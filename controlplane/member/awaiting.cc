// What operators wait for: it is looked at again whenever the member has taken something in.

#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "controlplane/fleet/activation.h"
#include "controlplane/member/desk.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kLongPoll{5};  // the server closes what was not answered in ten

}  // namespace

struct FleetDesk::Waiting {
  std::function<bool()> holds;
  std::function<void(bool)> then;
  boost::asio::steady_timer timer;
};

FleetDesk::FleetDesk(boost::asio::io_context& io, FleetMember& member) : io_(io), member_(member) {
  member_.when_fed([this] { look(); });
}

FleetDesk::~FleetDesk() {
  member_.when_fed({});
}

void FleetDesk::await(std::function<bool()> holds, std::chrono::milliseconds patience,
                      std::function<void(bool)> then) {
  if (holds()) return then(true);
  waiting_.push_back(std::make_shared<Waiting>(
      Waiting{std::move(holds), std::move(then), boost::asio::steady_timer(io_, patience)}));
  const std::weak_ptr<Waiting> weak = waiting_.back();
  waiting_.back()->timer.async_wait([this, weak](const boost::system::error_code& error) {
    const auto waiting = weak.lock();
    if (error || waiting == nullptr) return;
    waiting_.remove(waiting);
    waiting->then(waiting->holds());
  });
}

void FleetDesk::look() {
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    const auto waiting = *next;
    if (!waiting->holds()) {
      ++next;
      continue;
    }
    next = waiting_.erase(next);
    waiting->then(true);
  }
}

json FleetDesk::fate(uint64_t number) const {
  const fleet::State& state = member_.state();
  const uint64_t active = state.view.active_number();
  json fate = {{"revision", number}, {"in_force", false}, {"refusal", ""}, {"waits_for", ""}};
  // The refusal of an earlier one may still be what this node knows.
  if (active < number) {
    const auto refused = member_.alarms().find(fleet::AlarmKind::kRevisionRefused);
    if (refused != member_.alarms().end() && state.view.candidate() == number) {
      fate["refusal"] = refused->second;
      return fate;
    }
    const auto silent = fleet::undecided(state.view);
    fate["waits_for"] =
        fmt::format("revision {} is written, and not yet in force: {}", number,
                    !silent.empty() ? fmt::format("nothing was heard of it from {}", fmt::join(silent, ", "))
                    : !state.view.leader ? std::string("no node leads")
                                         : std::string("the health of its backends is not known"));
    return fate;
  }
  std::vector<std::string> behind;
  for (const auto& [name, node] : state.view.nodes) {
    const auto heard = member_.heard().find(name);
    const bool self = name == state.settings.node;
    if (!node || (!self && heard == member_.heard().end())) continue;
    if ((self ? state.own.live : heard->second.heartbeat.table).revision < number) behind.push_back(name);
  }
  fate["in_force"] = behind.empty();
  if (!behind.empty())
    fate["waits_for"] = fmt::format("revision {} is in force, and not yet forwarded by on {}", number,
                                    fmt::join(behind, ", "));
  return fate;
}

void FleetDesk::await_in_force(uint64_t number, const Answer& answer) {
  const auto decided = [this, number] {
    const json known = fate(number);
    return known["in_force"].get<bool>() || known["refusal"] != "";
  };
  await(decided, kLongPoll, [this, number, answer](bool) { answer(fate(number)); });
}

}  // namespace linimo
