// Asking the control plane over its Unix socket: one HTTP request, or a stream that it sends.
#pragma once

#include <functional>
#include <string>
#include <string_view>

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

/// Of a stream: what came; every tenth of a second, and after a signal, it is asked with nothing. False: that
/// was enough.
using TakeBytes = std::function<bool(std::string_view)>;

/// Returns when the stream has ended or was enough; a status other than 200 comes with its body instead.
/// `last_id`: the event that was had last, if any. The status is 0 where nothing came before it was enough.
tl::expected<Reply, std::string> follow(const std::string& socket, const std::string& method,
                                        const std::string& path, const std::string& last_id,
                                        const TakeBytes& take);

/// Says so on standard error; the exit code for it.
int fail(std::string_view message);

}  // namespace linimo
