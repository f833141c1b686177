#include "controlplane/cli/backend_script.h"

#include <map>
#include <utility>

#include <fmt/format.h>

#include "controlplane/cli/diagnosis.h"

namespace linimo {
namespace {

using nlohmann::json;

bool is_v4(const std::string& address) {
  return address.find(':') == std::string::npos;
}

/// The first VIP of each family that services have the pool serve.
std::map<bool, std::string> vips_of(const json& services, const std::string& pool) {
  std::map<bool, std::string> vips;
  for (const json& service : services) {
    if (service.at("pool") != pool) continue;
    for (const json& prefix : service.at("vips")) {
      const auto text = prefix.get<std::string>();
      const std::string vip = text.substr(0, text.find('/'));
      vips.emplace(is_v4(vip), vip);
    }
  }
  return vips;
}

}  // namespace

std::string script_for_backends(const json& services, const json& pools, const json& backends) {
  std::map<std::pair<std::string, bool>, std::string> addresses;  // by pool, and whether they are IPv4
  for (const json& backend : backends) {
    const auto address = backend.at("address").get<std::string>();
    addresses[{backend.at("pool").get<std::string>(), is_v4(address)}] += ' ' + address;
  }
  std::string sections;
  for (const json& pool : pools) {
    const auto name = pool.at("name").get<std::string>();
    const auto vips = vips_of(services, name);
    for (const bool v4 : {true, false}) {  // that the backends are, and so the tunnel
      const auto its = addresses.find({name, v4});
      if (its == addresses.end()) continue;
      for (const auto& [_, vip] : vips)
        sections += fmt::format(
            "if has_any_of{}; then known=1; (\n{}) || wrong=1; fi\n", its->second,
            backend_script(vip, pool.at("encapsulation").get<std::string>(), v4 ? "0.0.0.0" : "::"));
    }
  }
  if (sections.empty()) return {};
  return "#!/bin/sh\n"
         "# Run as root on a backend. Changes nothing.\n"
         "wrong=0 known=0\n"
         "own=\" $(ip -o addr show | awk '{ sub(\"/.*\", \"\", $4); printf \"%s \", $4 }')\"\n"
         "has_any_of() { for address; do case $own in *\" $address \"*) return 0 ;; esac; done; return 1; "
         "}\n" +
         sections +
         "[ $known = 1 ] || { echo \"this machine has the address of no backend\"; exit 1; }\n"
         "exit $wrong\n";
}

}  // namespace linimo
