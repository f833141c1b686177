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
//   POST /v1/capture?filter=HEX&snap=N&rate=N       copies of packets, as server-sent events (capture_feed.h)
//   GET /v1/events?past=N                          server-sent events, the latest N first (event_feed.h)
//   POST /v1/reload
//   POST /v1/drain, /v1/undrain with {"pool": NAME, "backend": ADDRESS}
//   POST /v1/dry-run                               what a change would do to flows (dry_run.h)
//   POST /v1/node/drain, /v1/node/undrain
//   GET /v1/openapi.json                           describes them (openapi.json)
//   GET /v1/paths                                  those that whoever asks may use here
//   GET /metrics                                   all that the metrics listener has, unless it is to have
//   more
//
// Every answer but events, captures and metrics is JSON; an error is {"error": "..."}.
//
// Lives on the serving thread. What it makes pages of it asks the loop that decides for; what changes
// anything is done there.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <nlohmann/json_fwd.hpp>

#include "controlplane/api/capture_feed.h"
#include "controlplane/api/event_feed.h"
#include "controlplane/api/fleet_routes.h"
#include "controlplane/api/inquiry.h"
#include "controlplane/controller.h"
#include "controlplane/http/http_server.h"

namespace linimo {

class Api {
 public:
  using Respond = HttpServer::Respond;

  /// `member`: nullptr where this node is in no fleet.
  Api(boost::asio::io_context& serving, boost::asio::io_context& deciding, Controller& controller,
      FleetMember* member = nullptr);

  /// Who may only read (HttpRequest::may_only_read) is told so of all other paths.
  void answer(const HttpRequest& request, const Respond& respond);
  /// What changes nothing and asks nothing of the data plane.
  void answer_reads(const HttpRequest& request, const Respond& respond);
  void answer_metrics(const HttpRequest& request, const Respond& respond);

  /// All that `answer` knows, but the files of the status page: path and method.
  static std::vector<std::pair<std::string, std::string>> paths();

 private:
  struct Route;
  using View = nlohmann::json (*)(const NodeState&);
  using Change = HttpResponse (*)(const HttpRequest&, Controller&);

  static std::span<const Route> routes();
  enum class Asker { kOperator, kReader };
  std::set<std::string> offered(Asker asker) const;
  void answer_to(Asker asker, const HttpRequest& request, const Respond& respond);
  static bool is_for_all(const std::string& path);
  void view(View make, const Respond& respond);
  void view_backends(View make, const Respond& respond);
  void events(const HttpRequest& request, const Respond& respond);
  void backends(const HttpRequest& request, const Respond& respond);
  void trace(const HttpRequest& request, const Respond& respond);
  void flows(const HttpRequest& request, const Respond& respond, bool clears);
  void capture(const HttpRequest& request, const Respond& respond);
  NameIds name_ids();
  void metrics(const Respond& respond);
  void change(Change change, const HttpRequest& request, const Respond& respond);

  boost::asio::io_context& serving_;
  boost::asio::io_context& deciding_;
  Controller& controller_;  // of the loop that decides: touched there alone
  Inquiry inquiry_;
  std::shared_ptr<EventFeed> feed_;
  std::optional<FleetRoutes> fleet_;
  // All that wait for one copy get one page.
  std::weak_ptr<const NodeState> page_state_;
  std::weak_ptr<const std::string> page_;
};

}  // namespace linimo
