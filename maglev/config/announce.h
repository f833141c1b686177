// The [announce] section of the configuration. The control plane announces by it and hands the data plane
// what matters in its own absence, in the snapshot; `linimo-dataplane --detach` reads it to withdraw.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include <tl/expected.hpp>

namespace linimo {

class TomlTable;

/// The kernel's number for whoever made a route (rtm_protocol): by it our routes are told from others'.
inline constexpr uint8_t kAnnounceProtocol = 77;

struct AnnounceConfig {
  uint32_t table = 77;          // the kernel's routing table that the routing daemon reads
  uint32_t metric = 100;        // of a VIP's route
  uint32_t drain_metric = 200;  // while the node drains; higher, so that a filter can tell
  uint32_t min_backends = 1;    // of a service, for it to be served
  bool every_service = false;   // of a VIP must be served for it to be announced; else any of them
  std::chrono::milliseconds startup_deadline{30'000};
  std::chrono::milliseconds drain_wait{10'000};  // with the drain metric, before the routes go
  std::chrono::milliseconds orphan_timeout{0};   // 0: routes outlive the control plane for ever
  std::filesystem::path bird_socket = "/run/bird/bird.ctl";

  bool operator==(const AnnounceConfig&) const = default;
};

/// `root` is the whole document; none when it has no such section. Notes mistakes.
std::optional<AnnounceConfig> read_announce_section(const TomlTable& root);

/// Reads the section out of a configuration file, ignoring the others. The error is ready to be shown.
tl::expected<std::optional<AnnounceConfig>, std::string> load_announce_config(
    const std::filesystem::path& file);

}  // namespace linimo
