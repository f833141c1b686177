// Health checks through the tunnel: how a check of the control plane reaches one backend in the data plane's
// own encapsulation, addressed to the VIP as a client's packets are.
//
//   check: TCP socket with kProbeMark, bound to a port, connects to the VIP
//     └─ rule: mark → table kProbeTable → device kProbeDevice, a TUN of the data plane's process
//          └─ data plane: source port → ProbeRoute, encapsulates, sends; the answer comes straight back
//
// What leaves by a source port goes where the file of routes says; the control plane writes a port's route
// before it connects, the data plane reads it for each packet. A file, read and written by system calls: what
// the other side does to it can do no harm beyond its contents. A route stays until its port has another, so
// that what a closed socket still has to say arrives.
#pragma once

#include <cstdint>
#include <filesystem>

#include "maglev/abi.h"

namespace linimo {

inline constexpr const char* kProbeDevice = "linimo-hc";
inline constexpr uint32_t kProbeMark = 0x6c686300;
inline constexpr uint32_t kProbeTable = 78;

struct ProbeRoute {
  linimo_addr backend{};
  uint16_t gue_port = 0;      // host byte order
  uint8_t is_set = 0;         // 0: nothing goes by this port
  uint8_t encapsulation = 0;  // linimo_encapsulation
  uint8_t reserved[12] = {};
};
static_assert(sizeof(ProbeRoute) == 32);

inline std::filesystem::path probe_file(const std::filesystem::path& runtime_dir) {
  return runtime_dir / "probes";
}

/// Where the route of a source port stands in the file. `vip_v6`: the family of the check's own packets.
inline int64_t probe_route_offset(bool vip_v6, uint16_t source_port) {
  return ((vip_v6 ? int64_t{65536} : 0) + source_port) * static_cast<int64_t>(sizeof(ProbeRoute));
}

}  // namespace linimo
