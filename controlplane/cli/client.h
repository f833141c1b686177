// Asking the control plane: one HTTP request over its Unix socket.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>
#include <tl/expected.hpp>

namespace linimo {

struct Reply {
  long status = 0;
  std::string body;
};

/// The error is ready to be shown and says what to do about it.
tl::expected<Reply, std::string> ask(const std::string& socket, const std::string& method,
                                     const std::string& path, const std::string& body = {});
/// The same of what is answered in JSON; what the control plane refuses is an error in its words.
tl::expected<nlohmann::json, std::string> ask_json(const std::string& socket, const std::string& method,
                                                   const std::string& path, const std::string& body = {});

}  // namespace linimo
