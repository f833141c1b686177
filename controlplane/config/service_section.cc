#include <fmt/format.h>
#include <netinet/in.h>

#include "controlplane/config/sections.h"
#include "controlplane/config/values.h"

namespace linimo {
namespace {

constexpr uint32_t kTcpIdleTimeout = 900;
constexpr uint32_t kUdpIdleTimeout = 60;

/// The order of linimo_scheduler.
linimo_scheduler read_scheduler(const TomlValue& value) {
  return static_cast<linimo_scheduler>(
      value.one_of({"maglev", "source-hash", "round-robin", "weighted-round-robin", "least-connections"}));
}

linimo_tracking read_tracking(const TomlValue& value) {
  switch (value.one_of({"full", "off", "adaptive"})) {
    case 0:
      return LINIMO_TRACKING_FULL;
    case 1:
      return LINIMO_TRACKING_OFF;
    default:
      return LINIMO_TRACKING_ADAPTIVE;
  }
}

/// How a backend is chosen, and whether the choice is remembered.
void read_choice(const TomlTable& table, ServiceConfig& service) {
  if (const auto* scheduler = table.find("scheduler")) service.scheduler = read_scheduler(*scheduler);
  const TomlValue* tracking = table.find("tracking");
  if (tracking == nullptr) return;
  service.tracking = read_tracking(*tracking);
  if (keeps_state(service.scheduler) && service.tracking != LINIMO_TRACKING_FULL) {
    tracking->fail(fmt::format("scheduler \"{}\" needs an entry for each flow",
                               table.find("scheduler")->string("a scheduler")),
                   "tracking = \"full\", or the scheduler \"maglev\" or \"source-hash\"");
  }
}

uint32_t find_pool(const TomlValue& value, const std::vector<PoolSection>& pools) {
  const std::string& name = value.string("the name of a pool");
  std::string known;
  for (uint32_t i = 0; i < pools.size(); ++i) {
    if (pools[i].pool.name == name) return i;
    if (i < 8) known += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", pools[i].pool.name);
  }
  value.fail(fmt::format("unknown pool \"{}\"", name.substr(0, 80)),
             pools.empty() ? std::string("a [[pool]] of that name")
                           : fmt::format("one of {}{}", known, pools.size() > 8 ? ", ..." : ""));
}

void read_quic(const TomlTable& table, const PoolSection& pool, ServiceConfig& service) {
  const TomlValue* quic = table.find("quic");
  service.quic = quic != nullptr && quic->boolean();
  if (service.quic && service.protocol != IPPROTO_UDP) quic->fail("QUIC runs over UDP", "protocol = \"udp\"");
  const uint8_t length = pool.pool.server_id_length;
  if (service.quic && length == 0) {
    quic->fail(fmt::format("the backends of pool \"{}\" have no server_id", pool.pool.name),
               "server_id = \"...\" with each of them");
  }
  if (const TomlValue* offset = table.find("server_id_offset")) {
    if (!service.quic)
      offset->fail("server_id_offset means nothing without QUIC", "it with quic = true only");
    service.server_id_offset = static_cast<uint8_t>(offset->integer(0, LINIMO_MAX_CONNECTION_ID - length));
  }
}

}  // namespace

ServiceSection read_service(const TomlValue& value, const std::vector<PoolSection>& pools) {
  const TomlTable table =
      value.table({"name", "vips", "protocol", "ports", "pool", "scheduler", "tracking", "allow_sources",
                   "no_backend", "quic", "server_id_offset", "idle_timeout"});
  ServiceSection section;
  section.place = &value;
  ServiceConfig& service = section.service;
  service.name = table.require("name", "name = \"...\" in [[service]]").name(LINIMO_NAME_SIZE - 1);
  section.vips = &table.require("vips", "vips = [...] in [[service]]");
  service.vips = read_prefixes(*section.vips);
  service.protocol = table.require("protocol", "protocol = \"tcp\" or \"udp\"").one_of({"tcp", "udp"}) == 0
                         ? IPPROTO_TCP
                         : IPPROTO_UDP;
  service.ports = read_ports(table.require("ports", "ports = [...] or \"any\""));
  service.pool = find_pool(table.require("pool", "pool = \"...\" in [[service]]"), pools);
  if (const auto* no_backend = table.find("no_backend"))
    service.no_backend = static_cast<linimo_no_backend>(no_backend->one_of({"drop", "reject"}));
  read_quic(table, pools[service.pool], service);
  read_choice(table, service);
  if (const auto* sources = table.find("allow_sources")) service.allow_sources = read_prefixes(*sources);
  service.idle_timeout_s = service.protocol == IPPROTO_TCP ? kTcpIdleTimeout : kUdpIdleTimeout;
  if (const auto* timeout = table.find("idle_timeout")) {
    const auto duration =
        read_duration(*timeout, std::chrono::seconds(1), std::chrono::seconds(LINIMO_MAX_IDLE_TIMEOUT_S));
    if (duration.count() % 1000 != 0)
      timeout->fail("not a whole number of seconds", "whole seconds, such as \"90s\"");
    service.idle_timeout_s = static_cast<uint32_t>(duration.count() / 1000);
  }
  return section;
}

}  // namespace linimo
