#include "tests/packets/case_file.h"

#include <fstream>
#include <initializer_list>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "maglev/counters.h"
#include "maglev/names.h"

namespace linimo::tests {
namespace {

using Json = nlohmann::json;

constexpr uint32_t kTableSize = 251;

Bytes from_hex(const std::string& text) {
  Bytes bytes(text.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  }
  return bytes;
}

Mac mac_of(const std::string& text) {
  Mac mac;
  for (size_t i = 0; i < mac.size(); ++i) {
    mac[i] = static_cast<uint8_t>(std::stoi(text.substr(3 * i, 2), nullptr, 16));
  }
  return mac;
}

template <typename Value>
Value parsed(const Json& text) {
  const auto value = Value::parse(text.get<std::string>());
  if (!value) throw std::runtime_error(fmt::format("case file: {} is no address", text.dump()));
  return *value;
}

template <typename Value>
std::vector<Value> all_parsed(const Json& texts) {
  std::vector<Value> values;
  for (const Json& text : texts) values.push_back(parsed<Value>(text));
  return values;
}

/// The position of a name among those that an enumeration counts up.
uint32_t index_of(const Json& name, std::span<const std::string_view> names) {
  const auto found = std::find(names.begin(), names.end(), name.get<std::string>());
  if (found == names.end()) throw std::runtime_error(fmt::format("case file: what is {}?", name.dump()));
  return static_cast<uint32_t>(found - names.begin());
}
uint32_t index_of(const Json& name, std::initializer_list<std::string_view> names) {
  return index_of(name, std::span(names.begin(), names.size()));
}

BackendSpec backend_of(const Json& from) {
  return {.address = parsed<Address>(from["address"]),
          .id = from["id"],
          .weight = from["weight"],
          .state = static_cast<linimo_backend_state>(index_of(from["state"], {"up", "draining", "down"})),
          .server_id = from["server_id"]};
}

NextHop next_hop_of(const Json& from) {
  const uint32_t state = index_of(from["next_hop"], {"no_route", "unresolved", "wrong_egress", "resolved"});
  NextHop hop{.state = static_cast<NextHop::State>(state),
              .port = from["port"],
              .mac = mac_of(from["mac"]),
              .mtu = from["mtu"],
              .tags = {}};
  size_t tags = 0;
  for (const Json& tag : from["tags"]) hop.tags.at(tags++) = {.tpid = tag[0], .control = tag[1]};
  return hop;
}

PoolSpec pool_of(const Json& from) {
  PoolSpec pool{.name = from["name"],
                .encapsulation =
                    static_cast<linimo_encapsulation>(index_of(from["encapsulation"], kEncapsulationNames)),
                .gue_port = from["gue_port"],
                .server_id_length = from["server_id_length"],
                .backends = {},
                .table = {}};
  for (const Json& backend : from["backends"]) pool.backends.push_back(backend_of(backend));
  pool.table = make_pool_table(pool.backends, kTableSize);
  return pool;
}

ServiceSpec service_of(const Json& from, uint32_t id, const std::vector<PoolSpec>& pools) {
  const auto pool = std::find_if(pools.begin(), pools.end(),
                                 [&](const PoolSpec& candidate) { return candidate.name == from["pool"]; });
  ServiceSpec service{
      .name = fmt::format("service{}", id),
      .id = id,
      .pool = static_cast<uint32_t>(pool - pools.begin()),
      .protocol = static_cast<uint8_t>(from["protocol"] == "tcp" ? 6 : 17),
      .tracking = static_cast<linimo_tracking>(index_of(from["tracking"], kTrackingNames)),
      .no_backend = static_cast<linimo_no_backend>(index_of(from["no_backend"], kNoBackendNames)),
      .scheduler = static_cast<linimo_scheduler>(index_of(from["scheduler"], kSchedulerNames)),
      .quic = from["quic"],
      .server_id_offset = from["server_id_offset"],
      .idle_timeout_s = from["idle_timeout_s"],
      .vips = all_parsed<Prefix>(from["vips"]),
      .ports = {},
      .allow_sources = all_parsed<Prefix>(from["allow_sources"]),
  };
  for (const Json& range : from["ports"]) service.ports.push_back({.first = range[0], .last = range[1]});
  return service;
}

Configuration configuration_of(const Json& from) {
  Configuration configuration;
  SnapshotSpec& snapshot = configuration.snapshot;
  snapshot.hash_seed = from["hash_seed"];
  snapshot.encap_source4 = parsed<Address>(from["encap_sources"][0]);
  snapshot.encap_source6 = parsed<Address>(from["encap_sources"][1]);
  snapshot.encap_prefix4 = from["encap_prefixes"][0];
  snapshot.encap_prefix6 = from["encap_prefixes"][1];
  for (const Json& pool : from["pools"]) {
    snapshot.pools.push_back(pool_of(pool));
    for (const Json& backend : pool["backends"]) {
      configuration.next_hops.emplace_back(backend["id"], next_hop_of(backend));
    }
  }
  uint32_t id = 0;
  for (const Json& service : from["services"]) {
    snapshot.services.push_back(service_of(service, id++, snapshot.pools));
  }
  for (const Json& mac : from["port_macs"]) configuration.port_macs.push_back(mac_of(mac));
  configuration.host_addresses = all_parsed<Address>(from["host_addresses"]);
  std::sort(configuration.host_addresses.begin(), configuration.host_addresses.end());
  return configuration;
}

void read_expected(const Json& from, Expected& expected) {
  if (from["outcome"] != "held") expected.outcome = outcome_named(from["outcome"]);
  expected.flow = from["flow"];
  for (const Json& out : from["out"]) {
    Output& possible = expected.possible.emplace_back();
    possible.port = out.value("port", 0U);
    possible.bytes = from_hex(out["bytes"]);
    for (const Json& frame : out.value("more", Json::array())) possible.more.push_back(from_hex(frame));
  }
}

Case case_of(const Json& from) {
  Case result{.name = from["name"],
              .row = from["row"],
              .choice = static_cast<Case::Choice>(index_of(from["choice"], {"", "same", "spread"})),
              .ordered = from["ordered"],
              .configuration = from["configuration"],
              .steps = {}};
  for (const Json& step : from["steps"]) {
    Step& added = result.steps.emplace_back();
    added.settles = step.contains("released");
    if (added.settles) {
      for (const Json& released : step["released"]) read_expected(released, added.released.emplace_back());
    } else {
      added.frame = from_hex(step["frame"]);
      read_expected(step, added);
    }
  }
  return result;
}

CaseFile load(const char* path) {
  std::ifstream file(path);
  if (!file)
    throw std::runtime_error(fmt::format("no case file {}: build the target packet-cases.json", path));
  const Json content = Json::parse(file);
  CaseFile result;
  for (const auto& [name, configuration] : content["configurations"].items()) {
    result.others.emplace(name, configuration_of(configuration));
  }
  result.configuration = result.others.at("main");
  result.others.erase("main");
  for (const Json& from : content["cases"]) result.cases.push_back(case_of(from));
  return result;
}

}  // namespace

const CaseFile& case_file() {
  static const CaseFile file = load(LINIMO_PACKET_CASES);
  return file;
}

linimo_outcome outcome_named(const std::string& name) {
  for (int i = 0; i < LINIMO_OUTCOME_COUNT; ++i) {
    const auto outcome = static_cast<linimo_outcome>(i);
    if (name == outcome_name(outcome)) return outcome;
  }
  throw std::runtime_error("no outcome is called " + name);
}

std::string hex(ByteView bytes) {
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

void PrintTo(const Case& shown, std::ostream* out) {
  *out << shown.name << " (" << shown.row << ")";
}

}  // namespace linimo::tests
