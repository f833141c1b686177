#include "controlplane/api/routes.h"

#include <algorithm>
#include <new>
#include <optional>

#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>

#include "controlplane/api/dry_run.h"
#include "controlplane/api/page_query.h"
#include "controlplane/api/views.h"
#include "controlplane/log.h"
#include "controlplane/metrics/metrics.h"
#include "controlplane/page/assets.h"
#include "controlplane/trace/account.h"
#include "controlplane/trace/capture_view.h"
#include "controlplane/trace/flow_query.h"
#include "controlplane/trace/flow_view.h"
#include "controlplane/trace/query.h"
#include "controlplane/trace/trial_packet.h"
#include "maglev/names.h"

namespace linimo {
namespace {

using nlohmann::json;

// Nothing but what this server serves, and no other site shows it as a part of its own.
constexpr const char* kPageHeaders =
    "Content-Security-Policy: default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-cache\r\n";
constexpr const char* kDescription = "/v1/openapi.json";  // an asset
constexpr const char* kPaths = "/v1/paths";
constexpr const char* kPlainText = "text/plain; charset=utf-8";

HttpResponse reply(unsigned status, const json& content) {
  // Texts from the data plane or from a file name need not be UTF-8; a view must not fail over them.
  return {status, content.dump(-1, ' ', false, json::error_handler_t::replace)};
}

HttpResponse reload(const HttpRequest& request, Controller& controller) {
  const auto reloaded = controller.reload(request.by);
  if (!reloaded) return reply(422, {{"error", reloaded.error()}});
  return reply(200, {{"reloaded", true}, {"restart_needed", controller.restart_needed()}});
}

/// {"pool": "web", "backend": "10.0.1.1"}
std::optional<BackendKey> named_backend(const std::string& body) {
  const json named = json::parse(body, nullptr, false);
  if (!named.is_object() || !named.value("pool", json()).is_string() ||
      !named.value("backend", json()).is_string())
    return std::nullopt;
  const auto address = Address::parse(named["backend"].get<std::string>());
  if (!address) return std::nullopt;
  return BackendKey{named["pool"].get<std::string>(), *address};
}

HttpResponse drain(const HttpRequest& request, Controller& controller, bool wanted) {
  const auto backend = named_backend(request.body);
  if (!backend) return reply(400, {{"error", R"(say which: {"pool": "NAME", "backend": "ADDRESS"})"}});
  if (const auto done = controller.drain(*backend, wanted, request.by); !done)
    return reply(422, {{"error", done.error()}});
  return reply(200, {{"pool", backend->pool}, {"backend", backend->address.to_string()}, {"drain", wanted}});
}
HttpResponse drain_backend(const HttpRequest& request, Controller& controller) {
  return drain(request, controller, true);
}
HttpResponse undrain_backend(const HttpRequest& request, Controller& controller) {
  return drain(request, controller, false);
}

HttpResponse node_phase(const tl::expected<void, std::string>& done, const Controller& controller) {
  if (!done) return reply(422, {{"error", done.error()}});
  return reply(200, {{"state", drain_phase_name(controller.announcer().phase())}});
}
HttpResponse drain_node(const HttpRequest& request, Controller& controller) {
  return node_phase(controller.announcer().drain(request.by), controller);
}
HttpResponse undrain_node(const HttpRequest& request, Controller& controller) {
  return node_phase(controller.announcer().undrain(request.by), controller);
}

protocol::Trace question_of(const TrialPacket& packet) {
  protocol::Trace question;
  question.length = static_cast<uint16_t>(packet.frame.size());
  question.addressed = packet.addressed ? 1 : 0;
  protocol::set_text(question.interface, packet.interface);
  std::copy(packet.frame.begin(), packet.frame.end(), question.frame);
  return question;
}

/// What has a connection table.
const char* memory_name(const Controller& controller) {
  const auto& peer = controller.peer();
  return peer && peer->engine == "xdp" ? "queue" : "worker";
}

/// Of ids in the data plane's tables. One that has just gone from the configuration has no name.
TraceNames names_of(const Controller& controller) {
  const auto find_backend = [&controller](uint32_t id) -> std::optional<BackendKey> {
    for (const PoolConfig& pool : controller.config().pools) {
      for (const BackendConfig& backend : pool.backends) {
        const BackendKey key{pool.name, backend.address};
        if (controller.ids().find_backend(key) == id) return key;
      }
    }
    return std::nullopt;
  };
  const auto find_service = [&controller](uint32_t id) -> const ServiceConfig* {
    for (const ServiceConfig& service : controller.config().services) {
      if (controller.ids().find_service(service.name) == id) return &service;
    }
    return nullptr;
  };
  TraceNames names;
  names.service = [find_service](uint32_t id) {
    const ServiceConfig* service = find_service(id);
    return service != nullptr ? service->name : "service " + std::to_string(id);
  };
  names.backend = [find_backend](uint32_t id) {
    const auto key = find_backend(id);
    return key ? key->pool + '/' + key->address.to_string() : "backend " + std::to_string(id);
  };
  names.backend_address = [find_backend](uint32_t id) {
    const auto key = find_backend(id);
    return key ? key->address.to_string() : std::string();
  };
  names.backend_state = [find_backend, &controller](uint32_t id) -> std::string {
    const auto key = find_backend(id);
    if (!key) return "not configured any more";
    const Standing standing = controller.standing(*key);
    const std::string health = health_name(standing.health);
    return standing.drains || controller.drained_by_operator(*key) ? health + " and drains" : health;
  };
  names.scheduler = [find_service](uint32_t id) {
    const ServiceConfig* service = find_service(id);
    return std::string(service != nullptr ? kSchedulerNames[service->scheduler] : "not configured any more");
  };
  names.memory = memory_name(controller);
  return names;
}

FlowIds ids_of(const Controller& controller) {
  FlowIds ids;
  ids.service = [&controller](const std::string& name) { return controller.ids().find_service(name); };
  ids.backend = [&controller](std::string_view text) -> std::optional<uint32_t> {
    const auto key = backend_named(text);
    return key ? controller.ids().find_backend(*key) : std::nullopt;
  };
  return ids;
}

/// An answer that is made of a state, or why there is none.
template <typename Make>
Inquiry::Done responding(const HttpServer::Respond& respond, unsigned status_if_none, Make make) {
  return [respond, status_if_none, make](const StateResult& state) {
    if (!state) return respond(reply(status_if_none, {{"error", state.error()}}));
    std::optional<HttpResponse> response;
    try {
      response.emplace(make(*state));
    } catch (const std::bad_alloc&) {
      response.emplace(503, R"({"error":"out of memory"})");
    }
    respond(*response);
  };
}

}  // namespace

/// What may be asked. Reading is for everybody on the machine, and for whom the operator lets in besides; not
/// so a trace, which is work for the data plane, and what tells of clients.
struct Api::Route {
  const char* method;
  const char* path;
  bool for_all;
  void (*answer)(Api&, const HttpRequest&, const Respond&);
};

std::span<const Api::Route> Api::routes() {
  static constexpr Route kRoutes[] = {
      {"GET", "/v1/status", true,
       [](Api& api, const HttpRequest&, const Respond& respond) { api.view(status_view, respond); }},
      {"GET", "/v1/services", true,
       [](Api& api, const HttpRequest&, const Respond& respond) { api.view(services_view, respond); }},
      {"GET", "/v1/pools", true,
       [](Api& api, const HttpRequest&, const Respond& respond) { api.view_backends(pools_view, respond); }},
      {"GET", "/v1/backends", true,
       [](Api& api, const HttpRequest& request, const Respond& respond) { api.backends(request, respond); }},
      {"GET", "/v1/events", true,
       [](Api& api, const HttpRequest& request, const Respond& respond) { api.events(request, respond); }},
      {"GET", "/v1/trace", false,
       [](Api& api, const HttpRequest& request, const Respond& respond) { api.trace(request, respond); }},
      {"GET", "/v1/flows", false,
       [](Api& api, const HttpRequest& request, const Respond& respond) {
         api.flows(request, respond, false);
       }},
      {"POST", "/v1/flows/clear", false,
       [](Api& api, const HttpRequest& request, const Respond& respond) {
         api.flows(request, respond, true);
       }},
      {"POST", "/v1/capture", false,  // no web page may: browsers name their origin then
       [](Api& api, const HttpRequest& request, const Respond& respond) { api.capture(request, respond); }},
      {"POST", "/v1/reload", false,
       [](Api& api, const HttpRequest& request, const Respond& respond) {
         api.change(reload, request, respond);
       }},
      {"POST", "/v1/drain", false,
       [](Api& api, const HttpRequest& request, const Respond& respond) {
         api.change(drain_backend, request, respond);
       }},
      {"POST", "/v1/undrain", false,
       [](Api& api, const HttpRequest& request, const Respond& respond) {
         api.change(undrain_backend, request, respond);
       }},
      {"POST", "/v1/dry-run", false,
       [](Api& api, const HttpRequest& request, const Respond& respond) {
         api.change(dry_run, request, respond);
       }},
      {"POST", "/v1/node/drain", false,
       [](Api& api, const HttpRequest& request, const Respond& respond) {
         api.change(drain_node, request, respond);
       }},
      {"POST", "/v1/node/undrain", false,
       [](Api& api, const HttpRequest& request, const Respond& respond) {
         api.change(undrain_node, request, respond);
       }},
      {"GET", "/metrics", true,
       [](Api& api, const HttpRequest&, const Respond& respond) { api.metrics(respond); }},
  };
  return kRoutes;
}

std::vector<std::pair<std::string, std::string>> Api::paths() {
  std::vector<std::pair<std::string, std::string>> paths = {{kDescription, "GET"}, {kPaths, "GET"}};
  for (const Route& route : routes()) paths.emplace_back(route.path, route.method);
  for (auto& of_fleet : FleetRoutes::paths()) paths.push_back(std::move(of_fleet));
  return paths;
}

std::set<std::string> Api::offered(Asker asker) const {
  std::set<std::string> paths = {kDescription, kPaths};
  for (const Route& route : routes())
    if (route.for_all || asker == Asker::kOperator) paths.insert(route.path);
  if (fleet_)
    for (const auto& [path, _] : FleetRoutes::paths())
      if (asker == Asker::kOperator || FleetRoutes::is_for_all(path)) paths.insert(path);
  return paths;
}

Api::Api(boost::asio::io_context& serving, boost::asio::io_context& deciding, Controller& controller,
         FleetMember* member)
    : serving_(serving),
      deciding_(deciding),
      controller_(controller),
      inquiry_(serving, deciding, controller),
      feed_(std::make_shared<EventFeed>(serving)) {
  controller.events().follow([feed = feed_](const auto& event) { feed->tell(event); });
  if (member != nullptr) fleet_.emplace(serving, deciding, *member);
}

void Api::answer(const HttpRequest& request, const Respond& respond) {
  const bool only_reads = !request.may_only_read.empty();
  if (only_reads && !is_for_all(request.path)) return respond(reply(403, {{"error", request.may_only_read}}));
  if (!fleet_ && request.path.starts_with("/v1/fleet"))
    return respond(
        reply(404, {{"error", "this node is in no fleet: its configuration has no [fleet] section"}}));
  answer_to(only_reads ? Asker::kReader : Asker::kOperator, request, respond);
}

void Api::answer_reads(const HttpRequest& request, const Respond& respond) {
  answer_to(Asker::kReader, request, respond);
}

/// What there is not, nobody need be kept from.
bool Api::is_for_all(const std::string& path) {
  return FleetRoutes::is_for_all(path) && std::ranges::none_of(routes(), [&](const Route& route) {
           return route.path == path && !route.for_all;
         });
}

void Api::answer_to(Asker asker, const HttpRequest& request, const Respond& respond) {
  for (const Asset& asset : assets()) {
    if (request.path != asset.path) continue;
    if (request.method != "GET") return respond(reply(405, {{"error", "use GET"}}));
    HttpResponse response(200, asset.content, asset.content_type);
    response.more_headers = kPageHeaders;
    return respond(response);
  }
  const std::set<std::string> there_are = offered(asker);
  if (!there_are.contains(request.path))
    return respond(
        reply(404, {{"error", fmt::format("no such path; there are {}", fmt::join(there_are, ", "))}}));
  if (fleet_ && fleet_->answer(request, respond)) return;
  if (request.path == kPaths && request.method == "GET") return respond(reply(200, {{"paths", there_are}}));
  const auto route = std::ranges::find(routes(), request.path, &Route::path);
  const std::string_view method = route == routes().end() ? "GET" : route->method;
  if (request.method != method) return respond(reply(405, {{"error", fmt::format("use {}", method)}}));
  route->answer(*this, request, respond);
}

void Api::answer_metrics(const HttpRequest& request, const Respond& respond) {
  if (request.path != "/metrics") return respond({404, "there is /metrics\n", kPlainText});
  if (request.method != "GET") return respond({405, "use GET\n", kPlainText});
  metrics(respond);
}

void Api::view(View make, const Respond& respond) {
  inquiry_.head(responding(respond, 503, [make](const auto& state) { return reply(200, make(*state)); }));
}

void Api::view_backends(View make, const Respond& respond) {
  inquiry_.everything(
      responding(respond, 503, [make](const auto& state) { return reply(200, make(*state)); }));
}

void Api::events(const HttpRequest& request, const Respond& respond) {
  size_t past = 0;
  const auto parameters = query_parameters(request.query);
  if (const auto wanted = parameters.find("past"); wanted != parameters.end()) {
    past = number_in<size_t>(wanted->second).value_or(kEventsKept + 1);
    if (past > kEventsKept)
      return respond(reply(400, {{"error", "past is a number from 0 to " + std::to_string(kEventsKept)}}));
  }
  HttpResponse response(200, "", "text/event-stream");
  response.more_headers = "Cache-Control: no-store\r\n";
  response.stream = feed_->open(request.last_event_id, past);
  respond(response);
}

void Api::backends(const HttpRequest& request, const Respond& respond) {
  const auto page = page_query(request.query);
  if (!page) return respond(reply(400, {{"error", page.error()}}));
  inquiry_.backends(
      [page = *page](const Config& config) { return range_of(page, config); },
      responding(respond, 404, [](const auto& state) { return reply(200, backends_view(*state)); }));
}

void Api::trace(const HttpRequest& request, const Respond& respond) {
  auto packet = trial_packet(request.query);
  if (!packet) return respond(reply(400, {{"error", packet.error()}}));
  const auto answer = [&serving = serving_](Respond respond, HttpResponse response) {
    boost::asio::post(serving,
                      [respond = std::move(respond), response = std::move(response)] { respond(response); });
  };
  boost::asio::post(deciding_, [this, packet = std::move(*packet), respond = respond, answer]() mutable {
    // Shared, so that a connection does not end on this thread: the last of them goes with the answer.
    const auto asker = std::make_shared<Respond>(std::move(respond));
    controller_.trace(question_of(packet), [this, packet, asker, answer](const auto& traced) {
      answer(std::move(*asker), traced ? reply(200, trace_account(packet, *traced, names_of(controller_)))
                                       : reply(503, {{"error", traced.error()}}));
    });
  });
}

void Api::flows(const HttpRequest& request, const Respond& respond, bool clears) {
  boost::asio::post(deciding_, [this, request, clears, respond = respond]() mutable {
    const auto asker = std::make_shared<Respond>(std::move(respond));
    const auto answer = [&serving = serving_, asker](HttpResponse response) {
      boost::asio::post(serving,
                        [respond = std::move(*asker), response = std::move(response)] { respond(response); });
    };
    const auto wanted = flow_query(request.query, ids_of(controller_), clears);
    if (!wanted) return answer(reply(400, {{"error", wanted.error()}}));
    if (clears && wanted->cursor == 0)
      log_info("flows cleared", {{"which", request.query}, {"by", request.by}});
    controller_.find_flows(*wanted, [this, clears, answer](const auto& found) {
      if (!found) return answer(reply(503, {{"error", found.error()}}));
      if (const auto error = protocol::text_of(found->error); !error.empty())
        return answer(reply(422, {{"error", error}}));
      answer(reply(200, clears ? cleared_view(*found)
                               : flows_view(*found, controller_.live_snapshot(), memory_name(controller_))));
    });
  });
}

void Api::capture(const HttpRequest& request, const Respond& respond) {
  const auto question = capture_query(request.query);
  if (!question) return respond(reply(400, {{"error", question.error()}}));
  int ends[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
    return respond(reply(503, {{"error", "no socket for the capture"}}));
  const auto ours = std::make_shared<UniqueFd>(ends[0]), theirs = std::make_shared<UniqueFd>(ends[1]);
  boost::asio::post(
      deciding_, [this, question = *question, ours, theirs, by = request.by, respond = respond]() mutable {
        const auto asker = std::make_shared<Respond>(std::move(respond));
        controller_.capture(question, std::move(*theirs), [this, asker, ours, by](const auto& capturing) {
          if (capturing) log_info("packets are captured", {{"by", by}});
          auto begun = capturing.map([](const protocol::Capturing& answer) {
            std::vector<std::string> interfaces;
            for (const auto& name : answer.interfaces) interfaces.emplace_back(protocol::text_of(name));
            return interfaces;
          });
          boost::asio::post(serving_, [this, respond = std::move(*asker), ours, begun = std::move(begun)] {
            if (!begun) return respond(reply(503, {{"error", begun.error()}}));
            HttpResponse response(200, "", "text/event-stream");
            response.more_headers = "Cache-Control: no-store\r\n";
            response.stream = make_capture_feed(serving_, std::move(*ours), *begun, name_ids());
            respond(response);
          });
        });
      });
}

NameIds Api::name_ids() {
  return [this](IdNames names, std::function<void(IdNames)> done) {
    boost::asio::post(deciding_, [this, names = std::move(names), done = std::move(done)]() mutable {
      names.name_by(controller_.live_snapshot());
      boost::asio::post(
          serving_, [names = std::move(names), done = std::move(done)]() mutable { done(std::move(names)); });
    });
  };
}

void Api::metrics(const Respond& respond) {
  inquiry_.everything(responding(respond, 503, [this](const std::shared_ptr<const NodeState>& state) {
    auto page = page_.lock();
    if (page == nullptr || page_state_.lock() != state) {
      page = std::make_shared<const std::string>(metrics_page(*state));
      page_ = page;
      page_state_ = state;
    }
    return HttpResponse(200, std::move(page), kMetricsContentType);
  }));
}

void Api::change(Change change, const HttpRequest& request, const Respond& respond) {
  boost::asio::post(deciding_, [this, change, request, respond = respond]() mutable {
    std::optional<HttpResponse> response;
    try {
      response.emplace(change(request, controller_));
    } catch (const std::bad_alloc&) {
      response.emplace(503, R"({"error":"out of memory; nothing was changed"})");
    }
    // Moved, not copied: a connection must not end on this thread.
    boost::asio::post(serving_,
                      [respond = std::move(respond), response = std::move(*response)] { respond(response); });
  });
}

}  // namespace linimo
