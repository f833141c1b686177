// Which flows somebody asks for, and what he gets: names become ids and ids names, and what makes no sense is
// refused with what was expected. And how the CLI puts parts together.

#include "controlplane/trace/flow_query.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "controlplane/cli/flows.h"
#include "controlplane/trace/flow_view.h"
#include "maglev/rules/flow_entry.h"
#include "tests/unit/snapshot_fixture.h"

namespace linimo {
namespace {

using nlohmann::json;

const FlowIds kIds{
    [](const std::string& name) { return name == "web" ? std::optional(5U) : std::nullopt; },
    [](std::string_view backend) { return backend == "web/10.0.1.1" ? std::optional(9U) : std::nullopt; }};

std::string mistake(std::string_view query, bool clears = false) {
  const auto read = flow_query(query, kIds, clears);
  return read ? "" : read.error();
}

TEST(FlowQuery, Narrows) {
  const auto every = flow_query("", kIds, false).value();
  EXPECT_EQ(every.service, protocol::kEvery);
  EXPECT_EQ(every.backend, protocol::kEvery);
  EXPECT_EQ(every.by_client, 0);
  const auto read =
      flow_query("service=web&backend=web/10.0.1.1&client=198.51.100.0/28&limit=7&after=123", kIds, false);
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(read->service, 5U);
  EXPECT_EQ(read->backend, 9U);
  EXPECT_EQ(read->by_client, 1);
  EXPECT_EQ(read->client_bits, 124U);
  EXPECT_EQ(Address::from_abi(read->client), address("198.51.100.0"));
  EXPECT_EQ(read->most, 7U);
  EXPECT_EQ(read->cursor, 123U);
  EXPECT_EQ(read->clears, 0);
}

TEST(FlowQuery, NamesOneFlow) {
  const auto read = flow_query("protocol=udp&from=[2001:db8::7]:4242&to=[2001:db8:f::10]:53", kIds, false);
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(read->by_flow, 1);
  EXPECT_EQ(read->protocol, 17);
  EXPECT_EQ(read->client_port, 4242);
  EXPECT_EQ(read->client_bits, 128U);
  EXPECT_EQ(read->vip_port, 53);
}

TEST(FlowQuery, SaysWhatWasExpected) {
  const std::pair<const char*, const char*> kWrong[] = {
      {"servce=web", "no parameter servce"},
      {"service=dns", "no service named dns"},
      {"backend=10.0.1.1", "no backend 10.0.1.1"},
      {"backend=", "no backend"},
      {"client=198.51.100.7/24", "without host bits"},
      {"client=everyone", "client is an address"},
      {"limit=129", "at most 128"},
      {"limit=-1", "limit is a number"},
      {"after=x", "after is what"},
      {"protocol=icmp&from=1.2.3.4:1&to=1.2.3.5:2", "tcp or udp"},
      {"protocol=tcp&from=1.2.3.4&to=1.2.3.5:2", "ADDRESS:PORT"},
      {"protocol=tcp", "ADDRESS:PORT"},
      {"protocol=tcp&from=1.2.3.4:1&to=[::1]:2", "one family"},
      {"client=1.2.3.4&protocol=tcp&from=1.2.3.4:1&to=1.2.3.5:2", "either a client"},
      {"all=1", "clears every flow"}};
  for (const auto& [query, says] : kWrong)
    EXPECT_NE(mistake(query).find(says), std::string::npos) << query << ": " << mistake(query);
}

TEST(FlowQuery, NobodyClearsEverythingByMistake) {
  EXPECT_NE(mistake("", true).find("say which flows"), std::string::npos);
  EXPECT_NE(mistake("limit=5", true), "");
  EXPECT_NE(mistake("all=0", true), "");
  EXPECT_NE(mistake("all=1&service=web", true), "");
  EXPECT_EQ(mistake("all=1", true), "");
  EXPECT_EQ(flow_query("backend=web/10.0.1.1", kIds, true)->clears, 1);
}

TEST(FlowView, NamesWhatIdsStandFor) {
  const auto bytes = build_snapshot(two_services());
  protocol::FoundFlows found;
  found.cursor = 77;
  found.matched = 2;
  found.rivals = 1 << 19;
  found.count = 2;
  found.flows[0].word = linimo_flow_made(uint64_t{5} << LINIMO_FLOW_SERVICE_SHIFT, 3, 0);
  found.flows[0].client = address("2001:db8::7").to_abi();
  found.flows[0].client_port = 4242;
  found.flows[0].vip = address("2001:db8:f::10").to_abi();
  found.flows[0].vip_port = 53;
  found.flows[0].idle_s = 12;
  found.flows[1].word = linimo_flow_made(uint64_t{99} << LINIMO_FLOW_SERVICE_SHIFT, 77, 0);
  const json view = flows_view(found, SnapshotView::of_valid(bytes), "worker");
  EXPECT_EQ(view["flows"][0], (json{{"service", "dns"},
                                    {"backend", "web/2001:db8:1::3"},
                                    {"state", "embryonic"},
                                    {"idle_s", 12},
                                    {"left_s", 0},
                                    {"row", 0},
                                    {"from", "[2001:db8::7]:4242"},
                                    {"to", "[2001:db8:f::10]:53"}}));
  EXPECT_EQ(view["flows"][1]["service"], "service 99") << "gone meanwhile";
  EXPECT_EQ(view["flows"][1]["backend"], "backend 77");
  EXPECT_TRUE(view["flows"][1]["from"].is_null());
  EXPECT_EQ(view["next"], "77");
  EXPECT_EQ(view["mistaken"], 0.5);
  found.count = ~0U;
  EXPECT_EQ(flows_view(found, std::nullopt, "queue")["flows"].size(), protocol::kMostFoundFlows);
  found.cursor = 0;
  EXPECT_TRUE(cleared_view(found)["next"].is_null());
}

/// Three parts with so many flows each.
class Parts {
 public:
  tl::expected<json, std::string> operator()(const std::string& path) {
    asked.push_back(path);
    const size_t limit = path.find("limit=0") != std::string::npos ? 0 : kEach;
    json flows = json::array();
    for (size_t i = 0; i < limit; ++i)
      flows.push_back({{"service", "web"},
                       {"backend", "web/10.0.1.1"},
                       {"state", "established"},
                       {"idle_s", 1},
                       {"left_s", 899},
                       {"row", 0},
                       {"from", nullptr},
                       {"to", nullptr}});
    const json next = asked.size() < 3 ? json(std::to_string(asked.size())) : json();
    return json{{"flows", flows},   {"memory", "worker"}, {"matched", kEach},
                {"cleared", kEach}, {"mistaken", 0.25},   {"next", next}};
  }
  static constexpr size_t kEach = 50;
  std::vector<std::string> asked;
};

TEST(FlowCommand, PutsPartsTogether) {
  Parts parts;
  FlowOptions options;
  options.backend = "web/10.0.1.1";
  const auto list = list_flows(options, std::ref(parts));
  ASSERT_TRUE(list) << list.error();
  EXPECT_EQ(parts.asked, (std::vector<std::string>{"/v1/flows?limit=100&backend=web/10.0.1.1",
                                                   "/v1/flows?limit=50&after=1&backend=web/10.0.1.1",
                                                   "/v1/flows?limit=0&after=2&backend=web/10.0.1.1"}));
  EXPECT_EQ(list->at("flows").size(), 100U);
  EXPECT_EQ(list->at("matched"), 150);
  EXPECT_EQ(list->at("left_off"), 50);
  const std::string text = render_flows(*list);
  EXPECT_NE(text.find("50 more are not shown"), std::string::npos);
  EXPECT_NE(text.find("About 0.75 of them may be other"), std::string::npos);
  EXPECT_EQ(text.find("CLIENT"), std::string::npos);
}

TEST(FlowCommand, SaysHowManyItCleared) {
  Parts parts;
  FlowOptions options;
  options.all = true;
  const auto cleared = clear_flows(options, std::ref(parts));
  ASSERT_TRUE(cleared) << cleared.error();
  EXPECT_EQ(parts.asked.back(), "/v1/flows/clear?all=1&after=2");
  EXPECT_EQ(render_cleared(*cleared).substr(0, 17), "150 flows cleared");
}

TEST(FlowCommand, SaysHowFarItCame) {
  size_t calls = 0;
  const auto fails = [&](const std::string&) -> tl::expected<json, std::string> {
    if (++calls == 2) return tl::unexpected(std::string("worker 0 does not answer"));
    return json{{"cleared", 512}, {"mistaken", 0}, {"next", "1"}};
  };
  const auto cleared = clear_flows({}, fails);
  ASSERT_FALSE(cleared);
  EXPECT_EQ(cleared.error(), "512 flows were cleared, then: worker 0 does not answer");
}

}  // namespace
}  // namespace linimo
