// What the tests of the configuration share: a text that is right, in parts, and what is said of one that is
// not.
#pragma once

#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "controlplane/config/config.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {

inline constexpr std::string_view kPool = R"(
[[pool]]
name = "web"
health = { type = "http", port = 80, path = "/healthz", interval = "2s", timeout = "200ms", rise = 2, fall = 3 }
backends = [ { address = "10.0.1.1" }, { address = "10.0.1.2", weight = 50 } ]
)";
inline constexpr std::string_view kService = R"(
[[service]]
name = "web"
vips = ["203.0.113.10", "2001:db8:f::/64"]
protocol = "tcp"
ports = [80, 443, "8000-8100"]
pool = "web"
)";

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() : seed_(folder_.write("seed", "0123456789abcdef")) {}

  /// Nine lines long, so that what follows begins in line 10.
  std::string node() const {
    return "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\nencap_source = [\"10.0.0.11\"]\nhash_seed_file "
           "= \"" +
           seed_.string() + "\"\n\n\n\n\n";
  }
  tl::expected<Config, std::string> load(const std::string& text) {
    return load_config(folder_.write("linimo.toml", text));
  }
  std::string error_of(const std::string& text) {
    const auto loaded = load(text);
    if (loaded) return "accepted";
    const std::string prefix = folder_.path().string() + "/linimo.toml:";
    return loaded.error().starts_with(prefix) ? loaded.error().substr(prefix.size()) : loaded.error();
  }

  /// A pool that begins in line 10, `line` being its line 12; a service after it.
  std::string with_pool_line(std::string_view line) const {
    return node() + "[[pool]]\nname = \"web\"\n" + std::string(line) +
           "\nbackends = [ { address = \"10.0.1.1\" } ]\n" + std::string(kService);
  }
  std::string with_backends(std::string_view backends) const {
    return node() + "[[pool]]\nname = \"web\"\nbackends = [ " + std::string(backends) + " ]\n" +
           std::string(kService);
  }
  /// A service of which `line` is line 12, behind a pool of two lines in lines 15 and 16.
  std::string with_service(std::string_view lines) const {
    return node() + "[[service]]\nname = \"s\"\n" + std::string(lines) +
           "\n[[pool]]\nname = \"p\"\nbackends = [ { address = \"10.0.1.1\" } ]\n";
  }

  TemporaryFolder folder_;
  std::filesystem::path seed_;
};

}  // namespace linimo
