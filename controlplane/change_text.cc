#include "controlplane/change_text.h"

#include <cstring>
#include <map>
#include <string_view>

#include <fmt/format.h>

namespace linimo {
namespace {

/// A list in one line, of which the rest is only counted once it is long enough.
class ChangeList {
 public:
  void add(std::string_view change) {
    if (text_.size() + change.size() > kMaxLength) {
      ++more_;
      return;
    }
    text_ += text_.empty() ? "" : ", ";
    text_ += change;
  }

  std::string text() const {
    return more_ == 0 ? text_ : fmt::format("{}{}{} more", text_, text_.empty() ? "" : ", and ", more_);
  }

 private:
  static constexpr size_t kMaxLength = 600;

  std::string text_;
  size_t more_ = 0;
};

/// The keys in which two of a kind differ.
class Differences {
 public:
  template <typename T>
  void compare(const char* key, const T& a, const T& b) {
    if (!(a == b)) keys_.emplace_back(key);
  }
  /// With what it was and is.
  void compare_shown(const char* key, uint64_t a, uint64_t b) {
    if (a != b) keys_.push_back(fmt::format("{} {}>{}", key, a, b));
  }
  void add_to(ChangeList& list, const std::string& what) const {
    if (!keys_.empty()) list.add(fmt::format("{}: {}", what, fmt::join(keys_, " ")));
  }
  std::vector<std::string> keys() && { return std::move(keys_); }

 private:
  std::vector<std::string> keys_;
};

template <typename T, typename KeyOf>
auto by_key(const T& records, KeyOf key_of) {
  std::map<decltype(key_of(*std::begin(records))), const std::decay_t<decltype(*std::begin(records))>*>
      sorted;
  for (const auto& record : records) sorted.emplace(key_of(record), &record);
  return sorted;
}

/// Of two maps of pointers: what only one of them has goes to `gone` or `came`, what both have to `stayed`.
template <typename Map, typename Gone, typename Came, typename Stayed>
void walk(const Map& before, const Map& after, Gone gone, Came came, Stayed stayed) {
  for (const auto& [key, record] : before) {
    if (!after.contains(key)) gone(key, *record);
  }
  for (const auto& [key, record] : after) {
    const auto earlier = before.find(key);
    earlier == before.end() ? came(key, *record) : stayed(key, *earlier->second, *record);
  }
}

void add_backends(ChangeList& list, const PoolConfig& before, const PoolConfig& after) {
  const auto address = [](const BackendConfig& backend) { return backend.address; };
  const auto name = [&](const Address& of) {
    return fmt::format("backend {}/{}", after.name, of.to_string());
  };
  walk(
      by_key(before.backends, address), by_key(after.backends, address),
      [&](const Address& of, const BackendConfig&) { list.add("-" + name(of)); },
      [&](const Address& of, const BackendConfig&) { list.add("+" + name(of)); },
      [&](const Address& of, const BackendConfig& a, const BackendConfig& b) {
        Differences keys;
        keys.compare_shown("weight", a.weight, b.weight);
        keys.compare_shown("drain", a.drain, b.drain);
        keys.compare("server_id", a.server_id, b.server_id);
        keys.add_to(list, name(of));
      });
}

void add_pools(ChangeList& list, const Config& before, const Config& after) {
  const auto name = [](const PoolConfig& pool) { return pool.name; };
  walk(
      by_key(before.pools, name), by_key(after.pools, name),
      [&](const std::string& of, const PoolConfig&) { list.add("-pool " + of); },
      [&](const std::string& of, const PoolConfig& pool) {
        list.add(fmt::format("+pool {} ({} backends)", of, pool.backends.size()));
      },
      [&](const std::string& of, const PoolConfig& a, const PoolConfig& b) {
        Differences keys;
        keys.compare("encapsulation", a.encapsulation, b.encapsulation);
        keys.compare("gue_port", a.gue_port, b.gue_port);
        keys.compare("server_id_length", a.server_id_length, b.server_id_length);
        keys.compare_shown("table_size", a.table_size, b.table_size);
        keys.compare("health", a.health, b.health);
        keys.add_to(list, "pool " + of);
        add_backends(list, a, b);
      });
}

void add_services(ChangeList& list, const Config& before, const Config& after) {
  const auto name = [](const ServiceConfig& service) { return service.name; };
  walk(
      by_key(before.services, name), by_key(after.services, name),
      [&](const std::string& of, const ServiceConfig&) { list.add("-service " + of); },
      [&](const std::string& of, const ServiceConfig&) { list.add("+service " + of); },
      [&](const std::string& of, const ServiceConfig& a, const ServiceConfig& b) {
        Differences keys;
        keys.compare("vips", a.vips, b.vips);
        keys.compare("protocol", a.protocol, b.protocol);
        keys.compare("ports", a.ports, b.ports);
        keys.compare("pool", before.pools[a.pool].name, after.pools[b.pool].name);
        keys.compare("scheduler", a.scheduler, b.scheduler);
        keys.compare("tracking", a.tracking, b.tracking);
        keys.compare("no_backend", a.no_backend, b.no_backend);
        keys.compare("quic", a.quic, b.quic);
        keys.compare("server_id_offset", a.server_id_offset, b.server_id_offset);
        keys.compare("allow_sources", a.allow_sources, b.allow_sources);
        keys.compare_shown("idle_timeout", a.idle_timeout_s, b.idle_timeout_s);
        keys.add_to(list, "service " + of);
      });
}

void compare_fixed(Differences& keys, const NodeConfig& running, const NodeConfig& wanted) {
  keys.compare("interfaces", running.interfaces, wanted.interfaces);
  keys.compare("engine", running.engine, wanted.engine);
  keys.compare("workers", running.workers, wanted.workers);
  keys.compare("cores", running.cores, wanted.cores);
  keys.compare("idle", running.idle, wanted.idle);
  keys.compare("flows_per_worker", running.flows_per_worker, wanted.flows_per_worker);
  keys.compare("xdp_mode", running.xdp_mode, wanted.xdp_mode);
  keys.compare("lanes", running.lanes, wanted.lanes);
  keys.compare("mtu", running.mtu, wanted.mtu);
  keys.compare("rss_key_file", running.rss_key_file, wanted.rss_key_file);
  keys.compare("runtime_dir", running.runtime_dir, wanted.runtime_dir);
}

void add_node(ChangeList& list, const Config& before, const Config& after) {
  const NodeConfig& a = before.node;
  const NodeConfig& b = after.node;
  Differences keys;
  keys.compare("name", a.name, b.name);
  compare_fixed(keys, a, b);
  keys.compare("state_dir", a.state_dir, b.state_dir);
  keys.compare("encap_source", std::pair(a.encap_source4, a.encap_source6),
               std::pair(b.encap_source4, b.encap_source6));
  keys.compare("encap_prefix", std::pair(a.encap_prefix4, a.encap_prefix6),
               std::pair(b.encap_prefix4, b.encap_prefix6));
  keys.compare_shown("reply_rate", a.reply_rate, b.reply_rate);
  keys.compare("hash_seed", before.hash_seed, after.hash_seed);
  keys.add_to(list, "node");
  if (before.announce != after.announce) list.add("announce");
  if (before.metrics != after.metrics) list.add("metrics");
  if (before.api != after.api) list.add("api");
}

const char* state_name(uint32_t state) {
  if (state == LINIMO_BACKEND_UP) return "up";
  return state == LINIMO_BACKEND_DRAINING ? "draining" : "down";
}

using LivePools = std::map<std::string_view, const linimo_pool*>;

void add_live_backends(ChangeList& list, std::string_view pool, std::span<const linimo_backend> before,
                       std::span<const linimo_backend> after) {
  if (before.size() == after.size() &&
      (before.empty() || std::memcmp(before.data(), after.data(), before.size_bytes()) == 0))
    return;
  const auto address = [](const linimo_backend& backend) { return Address::from_abi(backend.address); };
  const auto name = [&](const Address& of) { return fmt::format("{}/{}", pool, of.to_string()); };
  walk(
      by_key(before, address), by_key(after, address),
      [&](const Address& of, const linimo_backend&) { list.add("-" + name(of)); },
      [&](const Address& of, const linimo_backend& backend) {
        list.add(fmt::format("+{} {}", name(of), state_name(backend.state)));
      },
      [&](const Address& of, const linimo_backend& a, const linimo_backend& b) {
        if (a.state != b.state)
          list.add(fmt::format("{} {}>{}", name(of), state_name(a.state), state_name(b.state)));
        if (a.weight != b.weight) list.add(fmt::format("{} weight {}>{}", name(of), a.weight, b.weight));
      });
}

}  // namespace

std::string config_changes(const Config& before, const Config& after) {
  ChangeList list;
  add_node(list, before, after);
  add_pools(list, before, after);
  add_services(list, before, after);
  return list.text();
}

std::string table_changes(std::span<const std::byte> before, std::span<const std::byte> after) {
  ChangeList list;
  const auto name = [](const auto& record) { return std::string_view(record.name); };
  const auto pools = [&](std::span<const std::byte> bytes) {
    return bytes.empty() ? LivePools() : by_key(SnapshotView::of_valid(bytes).pools(), name);
  };
  const auto backends = [](std::span<const std::byte> bytes, const linimo_pool& pool) {
    return SnapshotView::of_valid(bytes).backends(pool);
  };
  walk(
      pools(before), pools(after),
      [&](std::string_view of, const linimo_pool&) { list.add(fmt::format("-pool {}", of)); },
      [&](std::string_view of, const linimo_pool& pool) {
        list.add(fmt::format("+pool {}", of));
        add_live_backends(list, of, {}, backends(after, pool));
      },
      [&](std::string_view of, const linimo_pool& a, const linimo_pool& b) {
        add_live_backends(list, of, backends(before, a), backends(after, b));
      });
  using LiveServices = std::map<std::string_view, const linimo_service*>;
  const auto services = [&](std::span<const std::byte> bytes) {
    return bytes.empty() ? LiveServices() : by_key(SnapshotView::of_valid(bytes).services(), name);
  };
  walk(
      services(before), services(after),
      [&](std::string_view of, const linimo_service&) { list.add(fmt::format("-service {}", of)); },
      [&](std::string_view of, const linimo_service&) { list.add(fmt::format("+service {}", of)); },
      [](std::string_view, const linimo_service&, const linimo_service&) {});
  return list.text();
}

std::vector<std::string> restart_differences(const NodeConfig& running, const NodeConfig& wanted) {
  Differences keys;
  compare_fixed(keys, running, wanted);
  return std::move(keys).keys();
}

}  // namespace linimo
