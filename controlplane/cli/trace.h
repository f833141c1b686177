// linimo trace: what the data plane would do with a packet, and why.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <tl/expected.hpp>

namespace CLI {
class App;
}

namespace linimo {

struct TraceOptions {
  std::string protocol, from, to, flags, quic_id, interface, pcap;
  std::optional<std::string> live;
  uint32_t size = 0;
  uint64_t count = 0;  // of live packets; 0: until Ctrl-C

  CLI::App* add_to(CLI::App& app);
  /// Of the packet that it names, for the API.
  std::string query() const;
};

/// Asks the control plane: the path, with its query, to the answer.
using FetchPath = std::function<tl::expected<nlohmann::json, std::string>(const std::string& path)>;

/// What a URL's query takes as it is; the rest would be an error anyway, and must not become another
/// question.
std::string escaped(const std::string& text);

/// The answers: one, or one for each frame of the file. The error is ready to be shown.
tl::expected<std::vector<nlohmann::json>, std::string> trace(const TraceOptions& options,
                                                             const FetchPath& fetch);

std::string render_trace(const nlohmann::json& answer);

}  // namespace linimo
