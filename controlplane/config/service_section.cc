#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <netinet/in.h>

#include "controlplane/config/sections.h"
#include "controlplane/config/values.h"
#include "maglev/names.h"

namespace linimo {
namespace {

constexpr uint32_t kTcpIdleTimeout = 900;
constexpr uint32_t kUdpIdleTimeout = 60;

/// How a backend is chosen, and whether the choice is remembered.
void read_choice(const TomlTable& table, ServiceConfig& service) {
  table.with("scheduler", [&](const TomlValue& value) {
    service.scheduler = static_cast<linimo_scheduler>(value.one_of(kSchedulerNames));
  });
  table.with("tracking", [&](const TomlValue& value) {
    service.tracking = static_cast<linimo_tracking>(value.one_of(kTrackingNames));
    if (keeps_state(service.scheduler) && service.tracking != LINIMO_TRACKING_FULL) {
      value.fail(fmt::format("scheduler \"{}\" needs an entry for each flow",
                             table.find("scheduler")->string("a scheduler")),
                 "tracking = \"full\", or the scheduler \"maglev\" or \"source-hash\"");
    }
  });
}

std::optional<uint32_t> find_pool(const TomlValue& value, const std::vector<PoolSection>& pools) {
  const std::string& name = value.string("the name of a pool");
  for (uint32_t i = 0; i < pools.size(); ++i) {
    if (pools[i].pool.name == name) return i;
  }
  return std::nullopt;
}

[[noreturn]] void refuse_pool(const TomlValue& value, const std::vector<PoolSection>& pools) {
  std::string known;
  for (size_t i = 0; i < std::min<size_t>(pools.size(), 8); ++i)
    known += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", pools[i].pool.name);
  value.fail(fmt::format("unknown pool \"{}\"", value.string("a name").substr(0, 80)),
             pools.empty() ? std::string("a [[pool]] of that name")
                           : fmt::format("one of {}{}", known, pools.size() > 8 ? ", ..." : ""));
}

/// `pool`: the service's, if that is known.
void read_quic(const TomlTable& table, const PoolConfig* pool, ServiceConfig& service) {
  const uint8_t length = pool != nullptr ? pool->server_id_length : 1;
  table.with("quic", [&](const TomlValue& value) {
    service.quic = value.boolean();
    if (service.quic && service.protocol != IPPROTO_UDP)
      value.fail("QUIC runs over UDP", "protocol = \"udp\"");
    if (service.quic && length == 0) {
      value.fail(fmt::format("the backends of pool \"{}\" have no server_id", pool->name),
                 "server_id = \"...\" with each of them");
    }
  });
  table.with("server_id_offset", [&](const TomlValue& value) {
    if (!service.quic) value.fail("server_id_offset means nothing without QUIC", "it with quic = true only");
    service.server_id_offset = static_cast<uint8_t>(value.integer(0, LINIMO_MAX_CONNECTION_ID - length));
  });
}

void read_idle_timeout(const TomlTable& table, ServiceConfig& service) {
  service.idle_timeout_s = service.protocol == IPPROTO_TCP ? kTcpIdleTimeout : kUdpIdleTimeout;
  table.with("idle_timeout", [&](const TomlValue& value) {
    const auto duration =
        read_duration(value, std::chrono::seconds(1), std::chrono::seconds(LINIMO_MAX_IDLE_TIMEOUT_S));
    if (duration.count() % 1000 != 0)
      value.fail("not a whole number of seconds", "whole seconds, such as \"90s\"");
    service.idle_timeout_s = static_cast<uint32_t>(duration.count() / 1000);
  });
}

}  // namespace

ServiceSection read_service(const TomlValue& value, const std::vector<PoolSection>& pools, bool all_pools) {
  const TomlTable table =
      value.table({"name", "vips", "protocol", "ports", "pool", "scheduler", "tracking", "allow_sources",
                   "no_backend", "quic", "server_id_offset", "idle_timeout"});
  ServiceSection section;
  section.place = &value;
  ServiceConfig& service = section.service;
  table.with_required("vips", "vips = [...] in [[service]]",
                      [&](const TomlValue& vips) { service.vips = read_prefixes(vips, &section.vips); });
  table.with_required("protocol", "protocol = \"tcp\" or \"udp\"", [&](const TomlValue& protocol) {
    service.protocol = protocol.one_of({"tcp", "udp"}) == 0 ? IPPROTO_TCP : IPPROTO_UDP;
  });
  table.with_required("ports", "ports = [...] or \"any\"",
                      [&](const TomlValue& ports) { service.ports = read_ports(ports); });
  const PoolConfig* pool = nullptr;
  table.with_required("pool", "pool = \"...\" in [[service]]", [&](const TomlValue& name) {
    const auto found = find_pool(name, pools);
    if (found) {
      service.pool = *found;
      pool = &pools[*found].pool;
    } else if (all_pools) {
      refuse_pool(name, pools);
    }
  });
  table.with("no_backend", [&](const TomlValue& what) {
    service.no_backend = static_cast<linimo_no_backend>(what.one_of(kNoBackendNames));
  });
  read_quic(table, pool, service);
  read_choice(table, service);
  table.with("allow_sources",
             [&](const TomlValue& sources) { service.allow_sources = read_prefixes(sources); });
  read_idle_timeout(table, service);
  service.name = table.require("name", "name = \"...\" in [[service]]").name(LINIMO_NAME_SIZE - 1);
  return section;
}

}  // namespace linimo
