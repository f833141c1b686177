// What the API answers to which request.
//
//   GET /v1/status   GET /v1/services   GET /v1/pools
//   GET /v1/backends?after=POOL/ADDRESS&limit=N    the next N (1000) backends of the configuration after that
//                                                  one; a page that is shorter is the last
//   GET /v1/backends?backend=POOL/ADDRESS          that one alone
//   GET /v1/trace?protocol=tcp&from=198.51.100.7:4242&to=203.0.113.10:443
//                                                  what would become of a packet (trace/trial_packet.h)
//   GET /v1/flows?service=web&backend=web/10.0.1.1&client=198.51.100.7&limit=N&after=NEXT
//                                                  tracked flows (trace/flow_query.h), in parts: "next" of a
//                                                  part is "after" of the one behind it; null: it was the
//                                                  last. limit=0 counts alone
//   POST /v1/flows/clear?backend=web/10.0.1.1      the same, cleared; all=1: every flow
//   POST /v1/reload
//   POST /v1/drain, /v1/undrain with {"pool": NAME, "backend": ADDRESS}
//   POST /v1/node/drain, /v1/node/undrain
//   GET /metrics                                   the only one that the metrics listener has
//
// Every answer but the metrics is JSON; an error is {"error": "..."}.
//
// Lives on the serving thread. What it makes pages of it asks the loop that decides for; what changes
// anything is done there.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>

#include "controlplane/api/fleet_routes.h"
#include "controlplane/api/inquiry.h"
#include "controlplane/controller.h"
#include "controlplane/http/http_server.h"

namespace linimo {

inline constexpr size_t kDefaultPage = 1000;
inline constexpr size_t kMaxPage = 4096;

class Api {
 public:
  using Respond = HttpServer::Respond;

  /// `member`: nullptr where this node is in no fleet.
  Api(boost::asio::io_context& serving, boost::asio::io_context& deciding, Controller& controller,
      FleetMember* member = nullptr)
      : serving_(serving),
        deciding_(deciding),
        controller_(controller),
        inquiry_(serving, deciding, controller) {
    if (member != nullptr) fleet_.emplace(serving, deciding, *member);
  }

  void answer(const HttpRequest& request, const Respond& respond);
  void answer_metrics(const HttpRequest& request, const Respond& respond);

 private:
  using Change = HttpResponse (*)(const HttpRequest&, Controller&);

  void backends(const HttpRequest& request, const Respond& respond);
  void trace(const HttpRequest& request, const Respond& respond);
  void flows(const HttpRequest& request, const Respond& respond, bool clears);
  void metrics(const Respond& respond);
  void change(Change change, const HttpRequest& request, const Respond& respond);

  boost::asio::io_context& serving_;
  boost::asio::io_context& deciding_;
  Controller& controller_;  // of the loop that decides: touched there alone
  Inquiry inquiry_;
  std::optional<FleetRoutes> fleet_;
  // All that wait for one copy get one page.
  std::weak_ptr<const NodeState> page_state_;
  std::weak_ptr<const std::string> page_;
};

}  // namespace linimo
