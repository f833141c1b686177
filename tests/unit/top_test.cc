// What `linimo top` shows: rates between two answers, the busiest first, in whatever room there is.

#include "controlplane/cli/top.h"

#include <gtest/gtest.h>

namespace linimo {
namespace {

using nlohmann::json;

json counted(uint64_t packets, uint64_t bytes, uint64_t new_flows) {
  return {{"packets", packets}, {"bytes", bytes}, {"new_flows", new_flows}};
}

class TopTest : public testing::Test {
 protected:
  TopTest() {
    before_.status = {
        {"node", "lb1"},
        {"engine", "dpdk"},
        {"generation", 17},
        {"up_to_date", true},
        {"serves", true},
        {"dataplane", {{"connected", true}}},
        {"flows", {{"tracked", 12'345}, {"capacity", 1'572'864}}},
        {"workers", json::array({{{"busy_ns", 0}, {"packets", 0}}, {{"busy_ns", 0}, {"packets", 0}}})},
        {"conditions", json::array()},
        {"outcomes", {{"forwarded", 1000}, {"no_backend", 5}, {"kernel", 7}, {"martian", 0}}}};
    before_.services = before_.backends = json::array();
    add(before_.services, {{"name", "web"}, {"pool", "web"}}, counted(0, 0, 0));
    add(before_.services, {{"name", "dns"}, {"pool", "dns"}}, counted(0, 0, 0));
    for (int i = 1; i <= 30; ++i)
      add(before_.backends,
          {{"pool", "web"},
           {"address", "10.0.1." + std::to_string(i)},
           {"state", i == 3 ? "down" : "up"},
           {"share", 0.5},
           {"flows", 1234}},
          counted(0, 0, 0));
    now_ = before_;
    now_.at = before_.at + std::chrono::seconds(2);
    now_.status["outcomes"] = {{"forwarded", 3001000}, {"no_backend", 25}, {"kernel", 1007}, {"martian", 1}};
    now_.status["workers"][1] = {{"busy_ns", 680'000'000}, {"packets", 1}};
    now_.services[0].update(counted(1000, 250'000'000, 20));
    now_.services[1].update(counted(4000, 1000, 5));
    now_.backends[6].update(counted(500, 1000, 2));
  }
  static void add(json& list, json one, const json& counts) {
    one.update(counts);
    list.push_back(std::move(one));
  }
  std::vector<std::string> lines(const TopLayout& layout = {}) const {
    std::vector<std::string> lines;
    std::string text = render_top(before_, now_, layout);
    EXPECT_TRUE(text.ends_with('\n'));
    while (!text.empty()) {
      lines.push_back(text.substr(0, text.find('\n')));
      text.erase(0, lines.back().size() + 1);
    }
    return lines;
  }
  /// The first that begins so.
  std::string line(std::string_view begin, const TopLayout& layout = {}) const {
    for (const std::string& one : lines(layout)) {
      if (one.starts_with(begin)) return one;
    }
    return "";
  }

  TopSample before_, now_;
};

TEST_F(TopTest, ShowsRates) {
  EXPECT_EQ(line("lb1"), "lb1  dpdk  generation 17");
  EXPECT_EQ(line("forwarded"),
            "forwarded 1.50M packets/s, 1.00G bit/s, 12 new flows/s; 12,345 flows of 1.57M");
  EXPECT_EQ(line("workers"), "workers  0: 0 % busy  1: 34 % busy");
  EXPECT_EQ(line("drops"), "drops 10/s  no_backend 10  martian 0.5");
  EXPECT_EQ(line("backends:"), "backends: 1 down, 29 up");
  EXPECT_EQ(line("web "), "web      web         500  1.00G     10");
  EXPECT_EQ(line("web/10.0.1.7 "), "web/10.0.1.7   up     50.0 %  1,234        250  4.00k    1.0");
}

TEST_F(TopTest, SortsAsIsWished) {
  const auto first = [&](TopSort sort) {
    const auto all = lines({.sort = sort, .hint = {}});
    return std::find_if(all.begin(), all.end(), [](const auto& one) { return one.starts_with("SERVICE"); })[1]
        .substr(0, 3);
  };
  EXPECT_EQ(first(TopSort::kPackets), "dns");
  EXPECT_EQ(first(TopSort::kBits), "web");
  EXPECT_EQ(first(TopSort::kNewFlows), "web");
  EXPECT_EQ(first(TopSort::kName), "dns");
  EXPECT_NE(line("web/10.0.1.7 "), "") << "the busiest is on the screen";
}

TEST_F(TopTest, FitsTheScreen) {
  for (const size_t columns : {1, 40, 80, 300}) {
    for (const size_t rows : {1, 6, 10, 24, 100}) {
      const auto all = lines({.columns = columns, .lines = rows, .hint = "q quit"});
      EXPECT_LE(all.size(), rows);
      for (const std::string& one : all) EXPECT_LE(one.size(), columns);
    }
  }
  const auto usual = lines({.hint = "q quit"});
  EXPECT_EQ(usual.size(), 24U);
  EXPECT_EQ(usual[0].size(), 80U);
  EXPECT_TRUE(usual[0].ends_with("q quit"));
  EXPECT_TRUE(usual.back().ends_with("more, sorted by packets")) << usual.back();
  EXPECT_EQ(lines({.lines = 0, .hint = {}}).size(), 6U + 3 + 1 + 31) << "where there is room for all";
}

TEST_F(TopTest, ManyServicesLeaveRoomForBackends) {
  for (int i = 0; i < 50; ++i)
    for (json* list : {&before_.services, &now_.services})
      add(*list, {{"name", "s" + std::to_string(i)}, {"pool", "web"}}, counted(0, 0, 0));
  const auto all = lines();
  EXPECT_EQ(all.size(), 24U);
  EXPECT_NE(line("47 more"), "");
  EXPECT_NE(line("web/10.0.1.7"), "");
}

TEST_F(TopTest, SaysWhatIsWrong) {
  now_.status["serves"] = false;
  now_.status["up_to_date"] = false;
  now_.status["conditions"] = json::array({{{"name", "carrier"}, {"subject", "eth0"}, {"state", "fails"}},
                                           {{"name", "ids-left"}, {"subject", nullptr}, {"state", "fails"}},
                                           {{"name", "next-hop"}, {"subject", nullptr}, {"state", "holds"}}});
  EXPECT_EQ(line("SERVES NOT"), "SERVES NOT  backends: 1 down, 29 up  FAILS: carrier eth0, ids-left");
  EXPECT_EQ(line("lb1"), "lb1  dpdk  generation 17  (newer tables are on their way)");
  now_.status["dataplane"]["connected"] = false;
  EXPECT_EQ(line("lb1"), "lb1  dpdk  generation 17  NO DATA PLANE");
}

// Another data plane has begun to count, or a service is new: no rate can be told.
TEST_F(TopTest, WhatWentBackwardsHasNoRate) {
  std::swap(before_.status, now_.status);
  std::swap(before_.services[0], now_.services[0]);
  add(now_.services, {{"name", "new"}, {"pool", "web"}}, counted(9, 9, 9));
  EXPECT_TRUE(line("forwarded").starts_with("forwarded - packets/s")) << line("forwarded");
  EXPECT_EQ(line("web "), "web      web           -      -      -");
  EXPECT_EQ(line("new "), "new      web           -      -      -");
  now_.at = before_.at;
  EXPECT_TRUE(line("drops").starts_with("drops 0/s"));
}

TEST_F(TopTest, NamesDoNothingToATerminal) {
  for (TopSample* sample : {&before_, &now_}) sample->services[0]["name"] = "w\033[2J";
  EXPECT_NE(line("w?[2J"), "");
}

TEST(RateText, IsShort) {
  const std::pair<double, const char*> kRates[] = {
      {0, "0"},         {0.25, "0.2"},      {9.9, "9.9"},          {12.4, "12"},      {999.4, "999"},
      {999.5, "1.00k"}, {1234567, "1.23M"}, {99'900'000, "99.9M"}, {9.6e10, "96.0G"}, {5e15, "5000T"}};
  for (const auto& [rate, text] : kRates) EXPECT_EQ(rate_text(rate), text);
  EXPECT_EQ(rate_text(std::nullopt), "-");
}

}  // namespace
}  // namespace linimo
