// The [node] section of the configuration: the only part that both processes read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "maglev/address.h"

namespace linimo {

class TomlTable;

enum class Engine { kAuto, kDpdk, kXdp };
/// What a worker does when no packet comes: poll on, or sleep ever longer (up to 200 us). kAuto: busy where
/// the machine has more cores than workers + 1, else adaptive.
enum class IdlePolicy { kAuto, kBusy, kAdaptive };
/// Where the kernel runs the XDP program: in the driver, or, slowly, for any netdev. kAuto: in the driver if
/// it can.
enum class XdpMode { kAuto, kNative, kGeneric };

struct NodeConfig {
  std::string name;
  std::vector<std::string>
      interfaces;  // netdev names, PCI addresses, or DPDK virtual devices ("net_memif0,role=client")
  Engine engine = Engine::kAuto;
  uint32_t workers = 1;
  std::vector<uint32_t> cores;  // CPUs of the workers; empty: the last ones that this process may use
  IdlePolicy idle = IdlePolicy::kAuto;
  uint64_t flows_per_worker = 1'048'576;  // connection table capacity
  Address encap_source4;                  // zero: none
  Address encap_source6;
  uint32_t encap_prefix4 = 128;  // leading bits of the sources that stay, of the 128-bit form; the flow
  uint32_t encap_prefix6 = 128;  // hash gives the others
  uint32_t reply_rate = 1000;    // replies of each kind a second from one worker; 0: no limit
  XdpMode xdp_mode = XdpMode::kAuto;
  std::string lanes = "auto";  // of engine dpdk, as dataplane/forward/lane_path.h names them
  uint16_t mtu = 0;  // of PCI ports as they start, and the largest they take later; 0: what the device has
  std::filesystem::path hash_seed_file = "/etc/linimo/seed";  // the control plane reads it
  std::filesystem::path rss_key_file;  // of PCI ports, engine dpdk; empty: it makes a key of its own
  std::filesystem::path runtime_dir = "/run/linimo";
  std::filesystem::path state_dir = "/var/lib/linimo";  // what outlives a reboot; the control plane's

  std::filesystem::path dataplane_socket() const { return runtime_dir / "dataplane.sock"; }
  std::filesystem::path control_socket() const { return runtime_dir / "control.sock"; }
};

/// May it be a node's own? Not loopback, multicast or reserved.
bool is_usable_source(const Address& address);

/// Where tunnels of the fleet's other nodes to this one lead: the source of its own, IPv4 if it has one; a
/// whole address, for that of a prefix need lead nowhere. Zero: there is none.
inline Address tunnel_end(const NodeConfig& node) {
  if (node.encap_source4 != Address{} && node.encap_prefix4 == 128) return node.encap_source4;
  return node.encap_prefix6 == 128 ? node.encap_source6 : Address{};
}

/// Has a tunnel to this address a source?
inline bool has_tunnel_source(const NodeConfig& node, const Address& to) {
  return (to.is_v4() ? node.encap_source4 : node.encap_source6) != Address{};
}

/// Where a node keeps what outlives a reboot unless it is told: /var/lib/NAME of /run/NAME, so that nodes
/// that share a machine, whose runtime folders differ, do not share this one either. A runtime folder that is
/// elsewhere serves for both.
std::filesystem::path usual_state_dir(const std::filesystem::path& runtime_dir);

/// Reads the section out of a configuration file, ignoring the others. The error is ready to be shown:
/// "FILE:LINE:COLUMN: what is wrong; what was expected".
tl::expected<NodeConfig, std::string> load_node_config(const std::filesystem::path& file);

/// The same out of a document that is already parsed. `root` is the whole document. Notes mistakes; throws a
/// ConfigError when there is no such section.
NodeConfig read_node_section(const TomlTable& root);

}  // namespace linimo
