#include "controlplane/api/fleet_routes.h"

#include <algorithm>
#include <charconv>
#include <new>
#include <utility>

#include <boost/asio/post.hpp>
#include <nlohmann/json.hpp>

namespace linimo {
namespace {

using nlohmann::json;

HttpResponse reply(unsigned status, const json& content) {
  return {status, content.dump(-1, ' ', false, json::error_handler_t::replace)};
}

std::optional<uint64_t> number_in(std::string_view query) {
  constexpr std::string_view kName = "number=";
  if (!query.starts_with(kName)) return std::nullopt;
  query.remove_prefix(kName.size());
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(query.data(), query.data() + query.size(), number);
  if (error != std::errc() || end != query.data() + query.size()) return std::nullopt;
  return number;
}

std::optional<std::string> text_in(const json& body, const char* name) {
  if (!body.is_object() || !body.contains(name) || !body[name].is_string()) return std::nullopt;
  return body[name].get<std::string>();
}

std::optional<uint64_t> number_in(const json& body, const char* name) {
  if (!body.is_object() || !body.contains(name) || !body[name].is_number_unsigned()) return std::nullopt;
  return body[name].get<uint64_t>();
}

/// "uid 0 pid 4711", or whose certificate it was.
std::string operator_of(const HttpRequest& request) {
  constexpr std::string_view kHere = "control socket, ";
  return request.by.starts_with(kHere) ? request.by.substr(kHere.size()) : request.by;
}

using Answer = FleetDesk::Answer;
using Ask = std::function<void(FleetDesk&, const Answer&)>;

// What a request wants of the desk; nothing: it makes no sense.

std::optional<Ask> status(const HttpRequest&, const json&) {
  return [](FleetDesk& desk, const Answer& answer) { answer(desk.status()); };
}
std::optional<Ask> history(const HttpRequest&, const json&) {
  return [](FleetDesk& desk, const Answer& answer) { desk.history(answer); };
}
std::optional<Ask> revision(const HttpRequest& request, const json&) {
  const auto number = request.query.empty() ? 0 : number_in(request.query);
  if (!number) return std::nullopt;
  return [number](FleetDesk& desk, const Answer& answer) { desk.revision(*number, answer); };
}
std::optional<Ask> await(const HttpRequest& request, const json&) {
  const auto number = number_in(request.query);
  if (!number) return std::nullopt;
  return [number](FleetDesk& desk, const Answer& answer) { desk.await_in_force(*number, answer); };
}
std::optional<Ask> apply(const HttpRequest& request, const json& body) {
  auto text = text_in(body, "text");
  auto file = text_in(body, "file");
  if (!text || !file) return std::nullopt;
  const FleetDesk::Wish wish{std::move(*text), std::move(*file), number_in(body, "base"),
                             operator_of(request)};
  return [wish](FleetDesk& desk, const Answer& answer) { desk.apply(wish, answer); };
}
std::optional<Ask> rollback(const HttpRequest& request, const json& body) {
  const auto number = number_in(body, "number");
  if (!number) return std::nullopt;
  return [number, by = operator_of(request)](FleetDesk& desk, const Answer& answer) {
    desk.rollback(*number, by, answer);
  };
}
std::optional<Ask> accept(const HttpRequest& request, const json&) {
  return [by = operator_of(request)](FleetDesk& desk, const Answer& answer) { desk.accept(by, answer); };
}
std::optional<Ask> drain(const HttpRequest& request, const json& body) {
  const auto pool = text_in(body, "pool");
  const auto address = text_in(body, "backend");
  if (!pool || !address) return std::nullopt;
  const bool wanted = request.path == "/v1/drain";
  return [backend = json{{"pool", *pool}, {"backend", *address}}, wanted, by = operator_of(request)](
             FleetDesk& desk, const Answer& answer) {
    desk.drain(backend["pool"], backend["backend"], wanted, by, answer);
  };
}

struct Route {
  const char* path;
  const char* method;
  bool for_all;
  std::optional<Ask> (*make)(const HttpRequest& request, const json& body);
  const char* expected;
};
constexpr Route kRoutes[] = {
    {"/v1/fleet", "GET", true, status, ""},
    {"/v1/fleet/history", "GET", true, history, ""},
    {"/v1/fleet/revision", "GET", false, revision, "number=N"},
    {"/v1/fleet/await", "GET", true, await, "number=N"},
    {"/v1/fleet/apply", "POST", false, apply, R"({"text": "...", "file": "...", "base": N})"},
    {"/v1/fleet/rollback", "POST", false, rollback, R"({"number": N})"},
    {"/v1/fleet/accept", "POST", false, accept, ""},
    {"/v1/drain", "POST", false, drain, R"({"pool": "NAME", "backend": "ADDRESS"})"},
    {"/v1/undrain", "POST", false, drain, R"({"pool": "NAME", "backend": "ADDRESS"})"}};

}  // namespace

void FleetRoutes::ask(const Ask& ask, const HttpServer::Respond& respond) {
  boost::asio::post(deciding_, [this, ask, respond = respond]() mutable {
    // A connection must not end on this thread: the last of what holds it goes with the answer, or by itself.
    const auto give_back = [&serving = serving_](HttpServer::Respond* asker) {
      boost::asio::post(serving, [asker = std::unique_ptr<HttpServer::Respond>(asker)] {});
    };
    const std::shared_ptr<HttpServer::Respond> asker(new HttpServer::Respond(std::move(respond)), give_back);
    const auto answer = [&serving = serving_, asker](const tl::expected<json, std::string>& result) {
      if (!*asker) return;  // it has been answered
      HttpResponse response = result ? reply(200, *result) : reply(422, {{"error", result.error()}});
      boost::asio::post(serving, [respond = std::exchange(*asker, {}), response = std::move(response)] {
        respond(response);
      });
    };
    try {
      ask(desk_, answer);
    } catch (const std::bad_alloc&) {
      answer(tl::unexpected(std::string("out of memory")));
    }
  });
}

std::vector<std::pair<std::string, std::string>> FleetRoutes::paths() {
  std::vector<std::pair<std::string, std::string>> paths;
  for (const Route& route : kRoutes) paths.emplace_back(route.path, route.method);
  return paths;
}

bool FleetRoutes::is_for_all(std::string_view path) {
  return std::ranges::none_of(kRoutes, [&](const Route& of) { return path == of.path && !of.for_all; });
}

bool FleetRoutes::answer(const HttpRequest& request, const HttpServer::Respond& respond) {
  const auto route = std::find_if(std::begin(kRoutes), std::end(kRoutes),
                                  [&](const Route& of) { return request.path == of.path; });
  if (route == std::end(kRoutes)) return false;
  if (request.method != route->method) {
    respond(reply(405, {{"error", std::string("use ") + route->method}}));
    return true;
  }
  const auto wanted = route->make(request, json::parse(request.body, nullptr, false));
  if (wanted)
    ask(*wanted, respond);
  else
    respond(reply(400, {{"error", std::string("expected ") + route->expected}}));
  return true;
}

}  // namespace linimo
