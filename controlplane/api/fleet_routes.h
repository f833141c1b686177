// The fleet's part of the API:
//
//   GET  /v1/fleet                         what this node knows of its fleet
//   GET  /v1/fleet/history                 revisions, the latest first
//   GET  /v1/fleet/revision?number=7       one of them; without a number the one in force
//   GET  /v1/fleet/await?number=7          whether it is in force, once that is decided
//   POST /v1/fleet/apply                   {"text", "file", "base": 7}
//   POST /v1/fleet/rollback                {"number": 7}
//   POST /v1/fleet/accept                  what the store holds counts, though it went back
//   POST /v1/drain, /v1/undrain            {"pool", "backend"}: for the whole fleet, where it has a revision
//
// Lives on the serving thread; what it asks the desk is done on the loop that decides.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "controlplane/http/http_server.h"
#include "controlplane/member/desk.h"

namespace linimo {

class FleetRoutes {
 public:
  FleetRoutes(boost::asio::io_context& serving, boost::asio::io_context& deciding, FleetMember& member)
      : serving_(serving), deciding_(deciding), desk_(deciding, member) {}

  /// False: the path is no matter of the fleet's.
  bool answer(const HttpRequest& request, const HttpServer::Respond& respond);

  /// All that `answer` knows: path and method.
  static std::vector<std::pair<std::string, std::string>> paths();
  /// Whether those may ask who may only read. A revision is a whole configuration, with what checks send.
  static bool is_for_all(std::string_view path);

 private:
  using Ask = std::function<void(FleetDesk&, const FleetDesk::Answer&)>;
  void ask(const Ask& ask, const HttpServer::Respond& respond);

  boost::asio::io_context& serving_;
  boost::asio::io_context& deciding_;
  FleetDesk desk_;  // of the loop that decides
};

}  // namespace linimo
