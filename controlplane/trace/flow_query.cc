#include "controlplane/trace/flow_query.h"

#include <algorithm>

#include <fmt/format.h>
#include <netinet/in.h>

#include "controlplane/trace/query.h"

namespace linimo {
namespace {

using protocol::FindFlows;

tl::unexpected<std::string> mistake(std::string text) {
  return tl::unexpected(std::move(text));
}

class FlowQuery {
 public:
  FlowQuery(std::string_view query, const FlowIds& ids) : given_(query_parameters(query)), ids_(ids) {}

  tl::expected<FindFlows, std::string> read(bool clears) {
    for (const auto& [name, _] : given_) {
      constexpr std::string_view kKnown[] = {"service", "backend",  "client", "limit", "after",
                                             "all",     "protocol", "from",   "to"};
      if (std::ranges::find(kKnown, name) == std::end(kKnown))
        return mistake(fmt::format("there is no parameter {}", name));
    }
    wanted_.clears = clears ? 1 : 0;
    if (auto done = read_names(); !done) return tl::unexpected(done.error());
    if (auto done = read_client(); !done) return tl::unexpected(done.error());
    if (auto done = read_page(); !done) return tl::unexpected(done.error());
    const bool narrows = wanted_.by_client != 0 || has("service") || has("backend");
    if (has("all") && (value("all") != "1" || narrows || !clears))
      return mistake("all=1 clears every flow, and stands by itself");
    if (clears && !narrows && !has("all"))
      return mistake("say which flows: service, backend or client; or all=1");
    return wanted_;
  }

 private:
  bool has(std::string_view name) const { return given_.contains(name); }
  std::string value(std::string_view name) const {
    const auto found = given_.find(name);
    return found == given_.end() ? std::string() : found->second;
  }

  tl::expected<void, std::string> read_names() {
    if (has("service")) {
      const auto id = ids_.service(value("service"));
      if (!id) return mistake(fmt::format("there is no service named {}", value("service")));
      wanted_.service = *id;
    }
    if (has("backend")) {
      const auto id = ids_.backend(value("backend"));
      if (!id)
        return mistake(
            fmt::format("there is no backend {}: POOL/ADDRESS, as in web/10.0.1.1", value("backend")));
      wanted_.backend = *id;
    }
    return {};
  }

  tl::expected<void, std::string> read_client() {
    const bool one_flow = has("protocol") || has("from") || has("to");
    if (has("client") && one_flow) return mistake("either a client, or protocol, from and to of one flow");
    if (has("client")) {
      const auto client = Prefix::parse(value("client"));
      if (!client)
        return mistake(
            "client is an address or a prefix without host bits, as in 198.51.100.7 or 198.51.100.0/28");
      wanted_.by_client = 1;
      wanted_.client = client->address.to_abi();
      wanted_.client_bits = client->length;
    }
    if (!one_flow) return {};
    const std::string protocol = value("protocol");
    const auto from = endpoint_in(value("from"), true), to = endpoint_in(value("to"), true);
    if (protocol != "tcp" && protocol != "udp") return mistake("protocol is tcp or udp");
    if (!from || !to)
      return mistake("from and to are ADDRESS:PORT, as in 198.51.100.7:4242 or [2001:db8::7]:4242");
    if (from->address.is_v4() != to->address.is_v4())
      return mistake("from and to are of one family, IPv4 or IPv6");
    wanted_.by_client = wanted_.by_flow = 1;
    wanted_.protocol = protocol == "tcp" ? IPPROTO_TCP : IPPROTO_UDP;
    wanted_.client = from->address.to_abi();
    wanted_.client_port = from->port;
    wanted_.vip = to->address.to_abi();
    wanted_.vip_port = to->port;
    return {};
  }

  tl::expected<void, std::string> read_page() {
    if (has("limit")) {
      const auto limit = number_in<uint32_t>(value("limit"));
      if (!limit || *limit > protocol::kMostFoundFlows)
        return mistake(fmt::format("limit is a number of flows, at most {}", protocol::kMostFoundFlows));
      wanted_.most = *limit;
    }
    if (has("after")) {
      const auto cursor = number_in<uint64_t>(value("after"));
      if (!cursor) return mistake("after is what the page before says as next");
      wanted_.cursor = *cursor;
    }
    return {};
  }

  QueryParameters given_;
  const FlowIds& ids_;
  FindFlows wanted_;
};

}  // namespace

tl::expected<FindFlows, std::string> flow_query(std::string_view query, const FlowIds& ids, bool clears) {
  return FlowQuery(query, ids).read(clears);
}

}  // namespace linimo
