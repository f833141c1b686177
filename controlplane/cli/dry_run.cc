#include "controlplane/cli/dry_run.h"

#include <iostream>

#include <fmt/format.h>

#include "controlplane/cli/client.h"
#include "controlplane/config/config.h"

namespace linimo {
namespace {

using nlohmann::json;

std::string render(const json& told) {
  std::string text;
  for (const json& pool : told.at("pools")) {
    if (pool.at("slots_moved") == 0 && pool.at("share_leaving") == 0.0) continue;
    text += fmt::format("pool {}: {} of {} slots would move ({:.2f} %); of {} tracked flows {} would break\n",
                        pool.at("name").get<std::string>(), pool.at("slots_moved").get<uint64_t>(),
                        pool.at("slots").get<uint64_t>(), 100 * pool.at("share_moved").get<double>(),
                        pool.at("flows").get<uint64_t>(), pool.at("flows_breaking").get<uint64_t>());
  }
  for (const json& service : told.at("services")) {
    if (service.at("share_breaking") == 0.0) continue;
    text += fmt::format("service {} (tracking {}): {:.2f} % of its live flows would break\n",
                        service.at("name").get<std::string>(), service.at("tracking").get<std::string>(),
                        100 * service.at("share_breaking").get<double>());
  }
  return text.empty() ? "no slot would move, and no flow break\n" : text;
}

}  // namespace

int show_dry_run(const std::string& socket, const json& change, bool as_json) {
  const auto told =
      ask_json(socket, "POST", "/v1/dry-run", change.dump(-1, ' ', false, json::error_handler_t::replace));
  if (!told) return fail(told.error());
  std::cout << (as_json ? told->dump(2) + "\n" : render(*told));
  return 0;
}

int show_dry_run_of_file(const std::string& socket, const std::string& file, bool as_json) {
  const auto text = read_config_text(file);
  return text ? show_dry_run(socket, {{"config", *text}}, as_json) : fail(text.error());
}

}  // namespace linimo
