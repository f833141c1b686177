// The packet that somebody asks about, as a frame.
//
//   protocol=tcp&from=198.51.100.7:4242&to=203.0.113.10:443        flags=S, size, quic_id, interface may
//   follow frame=HEX                                                      a real one, with its own MAC
//   addresses
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

namespace linimo {

struct TrialPacket {
  std::vector<uint8_t> frame;
  bool addressed = false;  // the destination is to be the interface's MAC address
  std::string interface;   // empty: the first
  std::string text;        // in words
};

/// Of a URL's query. The error says what was expected.
tl::expected<TrialPacket, std::string> trial_packet(std::string_view query);

}  // namespace linimo
