#include "dataplane/flow/flow_search.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <netinet/in.h>

#include "maglev/address.h"
#include "maglev/hash.h"

namespace linimo {
namespace {

constexpr uint64_t kScannedWords = 1 << 17;  // in one part: a megabyte
constexpr uint64_t kLookups = 1 << 12;
constexpr size_t kAhead = 16;  // look-ups whose memory is asked for before the first of them needs it
constexpr uint64_t kClientPorts = 65535;
constexpr uint64_t kMostEnds = 4096;
constexpr uint32_t kTableShift = 40;  // of a cursor over tables; below it the number of a word

using protocol::FindFlows;
using protocol::FoundFlow;
using protocol::FoundFlows;

/// Where flows of a client may go.
struct End {
  Address vip;  // zero, and so the ports: the service tells flows by their client alone
  uint16_t port = 0;
  uint8_t protocol = 0;
  uint32_t service = 0;  // id
  uint64_t first = 0;    // number of its first candidate
};

class Search {
 public:
  Search(const SnapshotView& view, const FlowTables& tables, const FindFlows& question,
         std::vector<FlowPlace>& places)
      : view_(view), tables_(tables), question_(question), places_(places), timeouts_(LINIMO_MAX_SERVICES) {
    for (const linimo_service& service : view.services()) {
      if (service.tracking != LINIMO_TRACKING_OFF)
        timeouts_[service.id] = linimo_units_for(tables.clock, service.idle_timeout_s);
    }
    found_.number = question.number;
  }

  FoundFlows scan() {
    uint64_t left = kScannedWords;
    uint64_t table = question_.cursor >> kTableShift;
    uint64_t index = question_.cursor & ((uint64_t{1} << kTableShift) - 1);
    for (; table < tables_.tables.size(); ++table, index = 0) {
      const FlowTable& words = tables_.tables[table];
      for (; index < words.size(); ++index, --left) {
        if (left == 0 || is_full()) {
          found_.cursor = table << kTableShift | index;
          return found_;
        }
        take(words, index, words.at(index), nullptr, FoundFlow{});
      }
    }
    return found_;
  }

  tl::expected<FoundFlows, std::string> look_up() {
    if (question_.client_bits > 128) return tl::unexpected<std::string>("no prefix is longer than 128 bits");
    const Address client = Address::from_abi(question_.client);
    if (masked(client, question_.client_bits) != client)
      return tl::unexpected<std::string>("the client's prefix has bits set behind its length");
    const uint32_t open = 128 - question_.client_bits;
    clients_ = open < 32 ? uint64_t{1} << open : kMostLookups + 1;
    client_ports_ = question_.by_flow != 0 ? 1 : kClientPorts;
    if (auto found = find_ends(client); !found) return tl::unexpected(found.error());
    const uint64_t lookups = candidates_ * tables_.tables.size();
    if (clients_ > kMostLookups || lookups > kMostLookups)
      return tl::unexpected<std::string>(
          "that is too many clients, ports and VIPs to be tried one by one (the tables have no addresses): "
          "name a service, or fewer clients");
    // By candidate first, so that one table after the other is asked for each.
    const uint64_t begin = std::min(question_.cursor, lookups);
    const uint64_t end = begin + std::min(lookups - begin, kLookups);
    for (uint64_t number = begin; number < end;) {
      std::array<Candidate, kAhead> ahead;
      const uint64_t count = std::min<uint64_t>(end - number, kAhead);
      for (uint64_t i = 0; i < count; ++i) ahead[i] = candidate(client, number + i);
      for (uint64_t i = 0; i < count; ++i, ++number) {
        if (is_full()) {
          found_.cursor = number;
          return found_;
        }
        look_at(ahead[i]);
      }
    }
    found_.cursor = end < lookups ? end : 0;
    return found_;
  }

 private:
  bool is_full() const {
    if (question_.clears != 0) return places_.size() == kMostClearedFlows;
    return question_.most != 0 && found_.count == std::min(question_.most, protocol::kMostFoundFlows);
  }

  bool wants(uint32_t service) const {
    return question_.service == protocol::kEvery || question_.service == service;
  }

  /// The end of a flow, or each that may be one of the client's family.
  tl::expected<void, std::string> find_ends(const Address& client) {
    const Address vip = Address::from_abi(question_.vip);
    const bool v4 = Prefix{client, question_.client_bits}.is_v4();
    for (const linimo_vip& one : view_.vips()) {
      const Prefix prefix{Address::from_abi(one.address), one.prefix_length};
      if (prefix.is_v4() != v4) continue;
      const auto rules = view_.rules().subspan(one.rule_first, one.rule_count);
      if (question_.by_flow != 0) {
        if (!prefix.contains(vip)) continue;
        for (const linimo_rule& rule : rules) {
          if (rule.protocol == question_.protocol && rule.port_first <= question_.vip_port &&
              question_.vip_port <= rule.port_last)
            add_end(view_.services()[rule.service], vip, question_.vip_port);
        }
        break;  // the longest prefix decides
      }
      for (const linimo_rule& rule : rules) {
        const linimo_service& service = view_.services()[rule.service];
        if (!wants(service.id) || timeouts_[service.id] == 0) continue;
        if (service.scheduler == LINIMO_SCHEDULER_SOURCE_HASH) {
          add_end(service, {}, 0);
        } else if (!add_ends(service, prefix, rule)) {
          return tl::unexpected<std::string>("service " + std::string(service.name) +
                                             " has too many VIPs and ports to be tried one by one: ask for "
                                             "one flow, or name another service");
        }
      }
    }
    if (question_.by_flow != 0 && ends_.empty())
      return tl::unexpected<std::string>("no service has that protocol, VIP and port");
    return {};
  }

  bool add_ends(const linimo_service& service, const Prefix& vips, const linimo_rule& rule) {
    const uint32_t open = 128 - vips.length;
    const uint64_t ports = uint64_t{rule.port_last} - rule.port_first + 1;
    if (open > 16 || (ports << open) + ends_.size() > kMostEnds) return false;
    for (uint64_t host = 0; host < uint64_t{1} << open; ++host) {
      const Address vip = nth(vips.address, host);
      if (is_of_longer(vip, vips.length)) continue;
      for (uint32_t port = rule.port_first; port <= rule.port_last; ++port)
        add_end(service, vip, static_cast<uint16_t>(port));
    }
    return true;
  }

  void add_end(const linimo_service& service, const Address& vip, uint16_t port) {
    const bool by_source = service.scheduler == LINIMO_SCHEDULER_SOURCE_HASH;
    const auto same = [&](const End& end) { return end.service == service.id && end.vip.is_zero(); };
    if (by_source && std::ranges::any_of(ends_, same)) return;
    ends_.push_back({by_source ? Address{} : vip, by_source ? uint16_t{0} : port, service.protocol,
                     service.id, candidates_});
    candidates_ += std::min(clients_, kMostLookups) * (by_source ? 1 : client_ports_);
  }

  bool is_of_longer(const Address& vip, uint32_t length) const {
    for (const linimo_vip& other : view_.vips()) {
      if (other.prefix_length <= length) return false;  // the longest come first
      if (Prefix{Address::from_abi(other.address), other.prefix_length}.contains(vip)) return true;
    }
    return false;
  }

  static Address nth(Address address, uint64_t host) {
    for (size_t byte = 0; byte < sizeof host; ++byte)
      address.bytes[15 - byte] = static_cast<uint8_t>(address.bytes[15 - byte] | host >> 8 * byte);
    return address;
  }

  struct Candidate {
    const FlowTable* table;
    linimo_flow_places at;
    FoundFlow flow;
  };

  /// With its buckets on their way from memory.
  Candidate candidate(const Address& clients, uint64_t lookup) const {
    const FlowTable& table = tables_.tables[lookup % tables_.tables.size()];
    const uint64_t number = lookup / tables_.tables.size();
    const End& end = *std::prev(std::ranges::upper_bound(ends_, number, {}, &End::first));
    const uint64_t ports = end.vip.is_zero() ? 1 : client_ports_;
    const Address client = nth(clients, (number - end.first) / ports);
    uint16_t port = question_.client_port;
    if (end.vip.is_zero())
      port = 0;
    else if (question_.by_flow == 0)
      port = static_cast<uint16_t>(1 + (number - end.first) % ports);
    Candidate made{&table, linimo_flow_places_of(hash_of(client, port, end), end.service, table.buckets), {}};
    for (const uint64_t bucket : {made.at.first, made.at.second})
      __builtin_prefetch(table.words + bucket * LINIMO_FLOW_BUCKET);
    made.flow.client = client.to_abi();
    made.flow.vip = end.vip.to_abi();
    made.flow.client_port = port;
    made.flow.vip_port = end.port;
    return made;
  }

  void look_at(const Candidate& it) {
    for (const uint64_t bucket : {it.at.first, it.at.second}) {
      for (uint64_t index = bucket * LINIMO_FLOW_BUCKET; index < (bucket + 1) * LINIMO_FLOW_BUCKET; ++index) {
        if (take(*it.table, index, it.table->at(index), &it.at, it.flow)) return;
      }
    }
  }

  uint64_t hash_of(const Address& client, uint16_t port, const End& end) const {
    const uint64_t seed = view_.header().hash_seed;
    const bool by_source = end.vip.is_zero();
    const uint32_t ports = htons(port) | uint32_t{htons(end.port)} << 16;
    const uint64_t rest = by_source ? 0 : linimo_key_end(ports, end.protocol);
    if (client.is_v4()) {
      const uint64_t to = by_source ? 0 : end.vip.v4_network_order();
      return flow_hash4(client.v4_network_order() | to << 32, rest, seed);
    }
    uint64_t addresses[4];
    std::memcpy(addresses, client.bytes.data(), 16);
    std::memcpy(addresses + 2, end.vip.bytes.data(), 16);
    return flow_hash6(addresses, rest, seed);
  }

  /// An entry, if it is one of those that are asked for. `sought`: it must be this flow's; null: anyone's.
  bool take(const FlowTable& table, uint64_t index, uint64_t word, const linimo_flow_places* sought,
            FoundFlow flow) {
    if (linimo_flow_state(word) == LINIMO_FLOW_EMPTY) return false;
    const uint32_t service = linimo_flow_service(word);
    const uint32_t timeout = timeouts_[service];
    if (sought != nullptr && linimo_flow_matches(word, sought->flow) == 0) {
      found_.rivals += service == linimo_flow_service(sought->flow) ? 1 : 0;
      return false;
    }
    if (!wants(service) || linimo_flow_is_over_seen(word, timeout, tables_.now, tables_.clock) != 0)
      return false;
    if (question_.backend != protocol::kEvery && question_.backend != linimo_flow_backend(word)) return false;
    ++found_.matched;
    if (question_.clears != 0) places_.push_back({table.row, index, word});
    if (question_.clears != 0 || question_.most == 0) return true;
    const uint32_t age = linimo_flow_age_seen(word, tables_.now);
    flow.word = word;
    flow.row = table.row;
    flow.idle_s = seconds(age);
    flow.left_s = seconds(linimo_flow_life(word, timeout, tables_.clock) - age);
    found_.flows[found_.count++] = flow;
    return true;
  }

  uint32_t seconds(uint32_t units) const {
    return tables_.clock == LINIMO_SECONDS ? units : LINIMO_SECONDS_IN_TICKS(units);
  }

  const SnapshotView& view_;
  const FlowTables& tables_;
  const FindFlows& question_;
  std::vector<FlowPlace>& places_;
  std::vector<uint32_t> timeouts_;  // by service id, of the tables' clock; 0: it tracks nothing
  std::vector<End> ends_;
  uint64_t clients_ = 0, client_ports_ = 0;
  uint64_t candidates_ = 0;
  FoundFlows found_;
};

}  // namespace

tl::expected<FoundFlows, std::string> find_flows(const SnapshotView& view, const FlowTables& tables,
                                                 const FindFlows& question, std::vector<FlowPlace>& places) {
  places.clear();
  Search search(view, tables, question, places);
  return question.by_client != 0 ? search.look_up() : search.scan();
}

}  // namespace linimo
