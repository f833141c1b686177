#include "controlplane/cli/render.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "controlplane/cli/text_table.h"

namespace linimo {
namespace {

using nlohmann::json;

void add_line(std::string& text, std::string_view key, const std::string& value) {
  text += fmt::format("{:<12}{}\n", key, value);
}

std::string dataplane_text(const json& status) {
  const json& dataplane = status.at("dataplane");
  if (!dataplane.at("connected").get<bool>())
    return "not connected (it goes on with what it has, if it runs)";
  return fmt::format("pid {}, {} worker{}{}", text_of(dataplane.at("pid")), text_of(dataplane.at("workers")),
                     dataplane.at("workers") == 1 ? "" : "s",
                     dataplane.at("restored").get<bool>() ? ", started from its kept generation" : "");
}

void add_announcements(std::string& text, const json& announce) {
  if (announce.is_null()) return;
  std::string announced;
  std::string not_announced;
  const auto append = [](std::string& list, const std::string& vip) {
    list += (list.empty() ? "" : ", ") + vip;
  };
  for (const json& vip : announce.at("vips")) {
    const std::string name = text_of(vip.at("vip"));
    if (vip.at("announced").get<bool>())
      append(announced, fmt::format("{} (metric {})", name, text_of(vip.at("metric"))));
    else
      append(not_announced, name);
  }
  add_line(text, "announced", announced.empty() ? "-" : announced);
  if (!not_announced.empty()) add_line(text, "NOT", not_announced);
  if (announce.at("state") != "serving") add_line(text, "DRAIN", text_of(announce.at("state")));
  if (!announce.at("failure").is_null()) add_line(text, "FAILED", text_of(announce.at("failure")));
  const json& bird = announce.at("bird");
  if (!bird.at("error").is_null()) add_line(text, "BIRD", text_of(bird.at("error")));
  for (const json& session : bird.at("sessions")) {
    const std::string info = text_of(session.at("info"));
    add_line(text, "BGP",
             fmt::format("{} {}", text_of(session.at("protocol")), info.empty() ? "down" : info));
  }
  for (const json& session : bird.at("bfd")) {
    add_line(text, "BFD",
             fmt::format("{} {} {}", text_of(session.at("neighbor")), text_of(session.at("interface")),
                         text_of(session.at("state"))));
  }
}

/// Those that fail; and those that nobody can tell of, where there is something to be done about them.
void add_conditions(std::string& text, const json& status) {
  if (!status.at("serves").get<bool>())
    add_line(text, "NO VIP", fmt::format("is announced: {}", text_of(status.at("serves_not_why"))));
  for (const json& condition : status.at("conditions")) {
    const bool fails = condition.at("state") == "fails";
    if (!fails && (condition.at("state") == "holds" || condition.at("mend").is_null())) continue;
    std::string line = text_of(condition.at("name"));
    if (!condition.at("subject").is_null()) line += fmt::format(" {}", text_of(condition.at("subject")));
    if (fails) line += fmt::format(" for {:.1f} s", condition.at("since_ms").get<double>() / 1000);
    if (!condition.at("evidence").is_null()) line += fmt::format(": {}", text_of(condition.at("evidence")));
    if (!condition.at("mend").is_null()) line += fmt::format("; {}", text_of(condition.at("mend")));
    add_line(text, fails ? "FAILS" : "advice", line);
  }
}

}  // namespace

std::string render_status(const json& status) {
  const json& config = status.at("config");
  std::string text;
  add_line(text, "node", text_of(status.at("node")));
  add_line(text, "data plane", dataplane_text(status));
  add_line(text, "engine",
           fmt::format("{} ({})", text_of(status.at("engine")), text_of(status.at("engine_reason"))));
  add_line(text, "generation",
           fmt::format("{} (digest {})", text_of(status.at("generation")), text_of(status.at("digest"))));
  if (!status.at("dataplane").at("last_refusal").is_null()) {
    add_line(text, "REFUSED", text_of(status.at("dataplane").at("last_refusal")));
  }
  if (!status.at("health_known").get<bool>())
    add_line(text, "health", "first checks under way, nothing changes until they end");
  if (!status.at("pools_in_panic").empty()) {
    add_line(
        text, "PANIC",
        fmt::format("few backends of {} are up, so all are used", list_of(status.at("pools_in_panic"), ",")));
  }
  if (status.at("health_known").get<bool>() && !status.at("up_to_date").get<bool>())
    add_line(text, "tables", "not yet those that are wished");
  add_announcements(text, status.at("announce"));
  add_conditions(text, status);
  const json& flows = status.at("flows");
  add_line(text, "flows",
           fmt::format("{} tracked, room for {}, {} found no place", grouped(flows.at("tracked")),
                       grouped(flows.at("capacity")), grouped(flows.at("unstored"))));
  if (const uint64_t lowered = status.at("path_mtus_lowered").get<uint64_t>(); lowered != 0)
    add_line(text, "path MTU", fmt::format("lowered {} times by routers' word", grouped(lowered)));
  const auto transmit_lost = status.at("transmit_lost").get<uint64_t>();
  const auto receive_lost = status.at("receive_lost").get<uint64_t>();
  if (transmit_lost != 0 || receive_lost != 0) {
    add_line(text, "LOST",
             fmt::format("by kernel, driver or NIC: {} frames after sending, {} before receiving",
                         grouped(transmit_lost), grouped(receive_lost)));
  }
  add_line(text, "config",
           fmt::format("{}, revision {}, loaded {}", text_of(config.at("file")),
                       text_of(config.at("revision")), text_of(config.at("loaded_at"))));
  if (!config.at("last_error").is_null()) add_line(text, "REFUSED", text_of(config.at("last_error")));
  if (!config.at("restart_needed").empty()) {
    add_line(text, "",
             fmt::format("[node] {} changed: restart linimo-dataplane",
                         list_of(config.at("restart_needed"), ",")));
  }

  TextTable outcomes({"OUTCOME", ">PACKETS"});
  for (const auto& [name, count] : status.at("outcomes").items()) {
    if (count != 0 || name == "forwarded") outcomes.add({name, grouped(count)});
  }
  return text + '\n' + outcomes.render();
}

namespace {

std::string amount(uint64_t bytes, bool exact) {
  return exact ? grouped(bytes) : bytes_text(bytes);
}

}  // namespace

std::string render_services(const json& services, bool wide) {
  TextTable table({"SERVICE", "VIPS", "PROTOCOL", "PORTS", "POOL", "SCHEDULER", "TRACKING", ">PACKETS",
                   ">BYTES", ">NEW FLOWS"});
  for (const json& service : services) {
    table.add({text_of(service.at("name")), list_of(service.at("vips"), ","), text_of(service.at("protocol")),
               list_of(service.at("ports"), ","), text_of(service.at("pool")),
               text_of(service.at("scheduler")), text_of(service.at("tracking")),
               grouped(service.at("packets")), amount(service.at("bytes"), wide),
               grouped(service.at("new_flows"))});
  }
  return table.render();
}

std::string drain_text(const json& backend) {
  const json& drain = backend.at("drain");
  if (drain.at("done").get<bool>()) return "drained: it has no flows";
  if (drain.at("tcp_flows").is_null()) return "drains";
  const std::string time =
      drain.at("left_s").is_null() ? "" : fmt::format(", about {} s", text_of(drain.at("left_s")));
  return fmt::format("drains: {} TCP and {} UDP flows left{}", grouped(drain.at("tcp_flows")),
                     grouped(drain.at("udp_flows")), time);
}

namespace {

/// What is to be known of it beyond its numbers.
std::string detail_text(const json& backend) {
  const bool drains = !backend.at("drain").is_null() && backend.at("state") != "down";
  std::string detail = drains ? drain_text(backend) : text_of(backend.at("detail"));
  if (backend.at("way_problem").is_null()) return detail;
  return fmt::format("NO WAY: {}; {}", text_of(backend.at("way_problem")), detail);
}

/// Of its health checks, on the average.
std::string latency_text(const json& checks) {
  const uint64_t ended = checks.at("successes").get<uint64_t>() + checks.at("failures").get<uint64_t>();
  if (ended == 0) return "-";
  return fmt::format("{:.1f} ms", 1000 * checks.at("seconds").get<double>() / static_cast<double>(ended));
}

}  // namespace

std::string render_backends(const json& backends, bool wide) {
  std::vector<std::string> headings = {"POOL",   "BACKEND",  "STATE",  ">WEIGHT",   ">SHARE",
                                       ">FLOWS", ">PACKETS", ">BYTES", ">NEW FLOWS"};
  if (wide)
    headings.insert(headings.end(), {">SYNS AGAIN", ">CHECKS", ">FAILED", ">LATENCY", ">START", ">ID"});
  headings.emplace_back("DETAIL");
  TextTable table(headings);
  for (const json& backend : backends) {
    std::vector<std::string> cells = {text_of(backend.at("pool")),
                                      text_of(backend.at("address")),
                                      text_of(backend.at("state")),
                                      text_of(backend.at("weight")),
                                      fmt::format("{:.2f} %", backend.at("share").get<double>() * 100),
                                      grouped(backend.at("flows")),
                                      grouped(backend.at("packets")),
                                      amount(backend.at("bytes"), wide),
                                      grouped(backend.at("new_flows"))};
    if (wide) {
      const json& checks = backend.at("checks");
      const uint64_t failed = checks.at("failures");
      cells.insert(cells.end(), {grouped(backend.at("repeated_syns")),
                                 grouped(checks.at("successes").get<uint64_t>() + failed), grouped(failed),
                                 latency_text(checks), text_of(backend.at("start_eighths")) + "/8",
                                 text_of(backend.at("id"))});
    }
    cells.push_back(detail_text(backend));
    table.add(std::move(cells));
  }
  return table.render();
}

}  // namespace linimo
