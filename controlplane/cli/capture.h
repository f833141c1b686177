// linimo capture, linimo trace --live: what really happens to packets, told by the data plane as it happens.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <tl/expected.hpp>

#include "controlplane/cli/watch.h"

namespace linimo {

struct CaptureOptions {
  std::vector<std::string> filter;  // words of it
  std::string file;                 // "-": standard output
  uint64_t count = 0;               // packets; 0: no limit
  uint64_t seconds = 0;             // likewise
  uint32_t snap = 0;                // bytes of each frame; 0: as many as there may be
  uint32_t rate = 1000;             // packets a second of each worker or CPU

  CLI::App* add_to(CLI::App& app);
};

/// The path that asks for it: the filter in pcap's words, compiled. The error says what is wrong with it.
tl::expected<std::string, std::string> capture_path(const std::string& filter, uint32_t snap, uint32_t rate);

/// One packet in a line: when, which, what became of it, where it went.
std::string packet_line(const nlohmann::json& packet);

/// Turns packets, as the control plane tells of them, into a pcapng file: nothing but what is new each time.
class CaptureFile {
 public:
  std::string begin() const;
  std::string add(const nlohmann::json& packet);

 private:
  uint32_t number_of(const std::string& name, std::string& bytes);
  std::vector<std::string> interfaces_;
};

int capture(const std::string& socket, const CaptureOptions& options);
int trace_live(const std::string& socket, const std::string& filter, uint64_t count, bool as_json);

}  // namespace linimo
