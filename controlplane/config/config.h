// The whole configuration of a node, read, checked and with every default filled in.
//
//   tl::expected<Config, std::string> config = load_config("/etc/linimo/linimo.toml");
//   if (!config) log(config.error());   // "linimo.toml:12:3: unknown pool \"wbe\"; expected \"web\",
//   perhaps"
//
// What this returns needs no second look: names are unique, services do not contradict each other, every
// limit of maglev/abi.h is kept. Pure apart from reading the file and its hash seed; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "controlplane/config/fleet_config.h"
#include "controlplane/config/health_config.h"
#include "controlplane/config/tcp_endpoint.h"
#include "maglev/abi.h"
#include "maglev/address.h"
#include "maglev/config/announce.h"
#include "maglev/config/node.h"
#include "maglev/snapshot.h"

namespace linimo {

struct BackendConfig {
  Address address;
  uint32_t weight = 100;   // 0: drain it
  bool drain = false;      // the same, without losing what the weight was
  uint64_t server_id = 0;  // of PoolConfig::server_id_length bytes, big-endian
};

/// What a backend is to the rest of the system: an address may serve several pools, each for itself.
struct BackendKey {
  std::string pool;
  Address address;

  auto operator<=>(const BackendKey&) const = default;
};

struct PoolConfig {
  std::string name;
  linimo_encapsulation encapsulation = LINIMO_ENCAP_IPIP;
  uint16_t gue_port = LINIMO_GUE_PORT;
  uint8_t server_id_length = 0;  // bytes; 0: no backend has a server id, else all have
  uint32_t table_size = kDefaultTableSize;
  std::optional<HealthCheckConfig> health;  // none: the backends are taken to be up
  std::vector<BackendConfig> backends;
};

struct ServiceConfig {
  std::string name;
  std::vector<Prefix> vips;
  uint8_t protocol = 6;
  std::vector<PortRange> ports;
  uint32_t pool = 0;  // index
  linimo_scheduler scheduler = LINIMO_SCHEDULER_MAGLEV;
  linimo_tracking tracking = LINIMO_TRACKING_FULL;
  linimo_no_backend no_backend = LINIMO_NO_BACKEND_DROP;
  bool quic = false;                  // server ids in connection ids win over the table
  uint8_t server_id_offset = 1;       // in a connection id
  std::vector<Prefix> allow_sources;  // empty: everyone
  uint32_t idle_timeout_s = 900;
};

/// Where a page for Prometheus is served besides on the control socket.
struct MetricsConfig {
  std::optional<TcpEndpoint> listen;
  bool page = false;  // there too: the status page and what it reads

  bool operator==(const MetricsConfig&) const = default;
};

/// Where the API is served besides on the control socket: over TLS, to clients with a certificate alone.
struct ApiConfig {
  TcpEndpoint listen;
  std::filesystem::path cert_file;  // the server's; PEM, as all
  std::filesystem::path key_file;
  std::filesystem::path client_ca_file;
  std::vector<std::string> operators;  // the names in certificates that may change; all others read

  bool operator==(const ApiConfig&) const = default;
};

struct Config {
  std::filesystem::path file;
  std::string revision;  // of the file's text, in hexadecimal digits; tells one text from another
  NodeConfig node;
  std::optional<AnnounceConfig> announce;  // none: nothing is announced
  MetricsConfig metrics;
  std::optional<ApiConfig> api;      // none: on the control socket alone
  std::optional<FleetConfig> fleet;  // none: this node is alone, and all is in its file
  uint64_t hash_seed = 0;
  std::vector<PoolConfig> pools;
  std::vector<ServiceConfig> services;
  std::vector<std::string> warnings;  // what is hardly meant, "FILE:LINE:COLUMN: ..."

  /// How long a data plane may remember a flow: an id that was given back rests that long.
  std::chrono::seconds longest_idle_timeout() const;
};

/// The error is ready to be shown: "FILE:LINE:COLUMN: problem; expected ...", and how many more there are.
tl::expected<Config, std::string> load_config(const std::filesystem::path& file);
/// The same in two steps.
tl::expected<std::string, std::string> read_config_text(const std::filesystem::path& file);
tl::expected<Config, std::string> load_config_text(const std::string& text,
                                                   const std::filesystem::path& file);
/// What belongs to a node from its file's text; pools and services, and no more, from `shared`, which is
/// called `name` in messages.
tl::expected<Config, std::string> load_config_texts(const std::string& own, const std::filesystem::path& file,
                                                    const std::string& shared, const std::string& name);

/// All that is wrong with a file, and what is hardly meant. Needs neither the hash seed nor rights.
struct ConfigReport {
  std::vector<std::string> mistakes;  // in the order of their places
  std::vector<std::string> warnings;
  std::optional<Config> config;  // where there is no mistake; without its seed
};
/// `here`: also what is wrong on this machine: its seed, addresses, programs.
ConfigReport check_config(const std::filesystem::path& file, bool here);

}  // namespace linimo
