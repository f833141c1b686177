#include "controlplane/member/flow_names.h"

#include <string>

#include "maglev/address.h"

namespace linimo {
namespace {

constexpr std::chrono::seconds kAtMostEvery{1};

/// Nothing: it has none.
template <typename Key, typename Value>
const Value* find(const std::unordered_map<Key, Value>& in, const Key& key) {
  const auto found = in.find(key);
  return found == in.end() ? nullptr : &found->second;
}

}  // namespace

void FlowNames::Names::add(uint32_t number, uint64_t digest) {
  numbers[digest] = number;
  digests[number] = digest;
}

/// False: there is nothing new, or it was read a moment ago.
bool FlowNames::read_anew(const SnapshotView& live, Time now) {
  const uint64_t generation = live.header().generation;
  if (generation == generation_ || (generation_ != 0 && now - read_ < kAtMostEvery)) return false;
  generation_ = generation;
  read_ = now;
  services_ = backends_ = {};
  for (const linimo_service& service : live.services())
    services_.add(service.id, fleet::name_digest(service.name));
  for (const linimo_pool& pool : live.pools()) {
    if (&pool == live.node_pool()) continue;  // no flow goes to a node
    for (const linimo_backend& backend : live.backends(pool)) {
      const std::string name = std::string(pool.name) + '/' + Address::from_abi(backend.address).to_string();
      backends_.add(backend.id, fleet::name_digest(name));
    }
  }
  return true;
}

std::vector<fleet::SharedFlow> FlowNames::to_fleet(std::span<const linimo_flow_word> words,
                                                   const SnapshotView& live, Time now) {
  std::vector<fleet::SharedFlow> flows;
  for (const linimo_flow_word& word : words) {
    const auto known = [&] {
      return find(services_.digests, uint32_t{word.service}) != nullptr &&
             find(backends_.digests, word.backend) != nullptr;
    };
    if (!known() && (!read_anew(live, now) || !known())) continue;
    flows.push_back({word.hash, services_.digests[word.service], backends_.digests[word.backend],
                     word.ended != 0, word.datagram != 0});
  }
  return flows;
}

std::vector<linimo_flow_word> FlowNames::from_fleet(std::span<const fleet::SharedFlow> flows,
                                                    const SnapshotView& live, Time now) {
  std::vector<linimo_flow_word> words;
  for (const fleet::SharedFlow& flow : flows) {
    const auto known = [&] {
      return find(services_.numbers, flow.service) != nullptr &&
             find(backends_.numbers, flow.backend) != nullptr;
    };
    if (!known() && (!read_anew(live, now) || !known())) continue;
    words.push_back({flow.hash, backends_.numbers[flow.backend],
                     static_cast<uint16_t>(services_.numbers[flow.service]),
                     static_cast<uint8_t>(flow.ended ? 1 : 0), static_cast<uint8_t>(flow.datagram ? 1 : 0)});
  }
  return words;
}

}  // namespace linimo
