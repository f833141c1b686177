// The link to the data plane: what is live is read back, a snapshot arrives sealed and is answered, and a
// data plane that refuses, dies, says nothing or talks nonsense costs a reconnection and nothing else.

#include "controlplane/tables/dataplane_link.h"

#include <array>

#include <gtest/gtest.h>

#include "tests/unit/fake_dataplane.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;
using Manner = FakeDataplane::Manner;

std::vector<std::byte> snapshot(uint64_t generation) {
  SnapshotSpec spec;
  spec.generation = generation;
  return build_snapshot(spec);
}

class DataplaneLinkTest : public testing::Test, public DataplaneLink::Observer {
 protected:
  void on_connected(const DataplanePeer& peer, LiveTables live,
                    std::optional<CountersView> counters) override {
    ++connected_;
    peer_ = peer;
    live_ = std::move(live);
    counters_ = counters.has_value();
  }
  void on_accepted(uint64_t generation) override { accepted_.push_back(generation); }
  void on_refused(uint64_t generation, const std::string& reason) override {
    refused_.emplace_back(generation, reason);
  }
  void on_lost(const std::string& reason) override { lost_.push_back(reason); }

  bool wait(const std::function<bool()>& condition) {
    return run_until(io_, condition, [this] { fake_.poll(); });
  }
  bool last_loss_has(std::string_view text) const {
    return !lost_.empty() && lost_.back().find(text) != std::string::npos;
  }

  TemporaryFolder folder_;
  boost::asio::io_context io_;
  FakeDataplane fake_{folder_.path() / "dataplane.sock"};
  DataplaneLink link_{io_,
                      folder_.path() / "dataplane.sock",
                      *this,
                      {.welcome = milliseconds(50),
                       .answer = milliseconds(50),
                       .first_retry = milliseconds(5),
                       .last_retry = milliseconds(20)}};

  int connected_ = 0;
  DataplanePeer peer_;
  LiveTables live_;
  bool counters_ = false;
  void on_condition(const ConditionReport& report) override {
    told_.push_back(report.name + " " + report.subject + " " + condition_state_name(report.state));
  }
  void on_next_hops(uint32_t first_id, std::span<const uint8_t> states) override {
    hops_ = {first_id, states[3]};
  }
  void on_heartbeat() override { ++heartbeats_; }
  void on_hand_over(milliseconds limit) override { hand_over_ = limit; }
  void on_flow_words(std::span<const linimo_flow_word> words) override {
    for (const linimo_flow_word& word : words) words_.push_back(word.hash);
  }

  std::vector<std::string> told_;
  std::pair<uint32_t, int> hops_;
  int heartbeats_ = 0;
  milliseconds hand_over_{0};
  std::vector<uint64_t> words_;
  std::vector<uint64_t> accepted_;
  std::vector<std::pair<uint64_t, std::string>> refused_;
  std::vector<std::string> lost_;
};

TEST_F(DataplaneLinkTest, ReadsBackWhatIsLive) {
  fake_.live = snapshot(41);
  fake_.welcome.generation = 41;
  fake_.welcome.restored = 1;
  protocol::set_text(fake_.welcome.engine, "dpdk");
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  EXPECT_EQ(peer_.pid, 4711u);
  EXPECT_EQ(peer_.workers, 2u);
  EXPECT_TRUE(peer_.restored);
  EXPECT_EQ(peer_.engine, "dpdk");
  EXPECT_EQ(peer_.snapshot_error, "");
  EXPECT_EQ(live_.bytes, fake_.live);
  EXPECT_TRUE(counters_);
  EXPECT_TRUE(link_.ready());
}

TEST_F(DataplaneLinkTest, HandsOnWhatTheDataPlaneTells) {
  fake_.welcome.features = protocol::kReports;
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  EXPECT_TRUE(peer_.reports);
  protocol::Condition condition;
  protocol::set_text(condition.name, "carrier");
  protocol::set_text(condition.subject, "eth0");
  condition.state = 250;  // of which nobody has heard
  fake_.send(condition);
  condition.state = static_cast<uint8_t>(ConditionState::kFails);
  fake_.send(condition);
  protocol::NextHops hops;
  hops.first_id = 480;
  hops.states[3] = 4;
  fake_.send(hops);
  protocol::HandOver hand_over;
  hand_over.limit_ms = 1500;
  fake_.send(hand_over);
  protocol::FlowWords words;
  words.count = 2;
  words.words[0].hash = 7;
  words.words[1].hash = 8;
  fake_.send(words);
  fake_.send(protocol::Heartbeat{});
  ASSERT_TRUE(wait([&] { return heartbeats_ == 1; }));
  EXPECT_EQ(hand_over_, milliseconds(1500));
  EXPECT_EQ(words_, (std::vector<uint64_t>{7, 8}));
  EXPECT_EQ(told_, (std::vector<std::string>{"carrier eth0 unknown", "carrier eth0 fails"}));
  EXPECT_EQ(hops_, (std::pair<uint32_t, int>{480, 4}));
  EXPECT_TRUE(wait([&] { return fake_.heartbeats > 1; })) << "it wants to hear of us, too";
  link_.publish(1, snapshot(1));
  fake_.send(protocol::Heartbeat{});
  ASSERT_TRUE(wait([&] { return !accepted_.empty(); })) << "what is told meanwhile is no answer";
  EXPECT_TRUE(lost_.empty());
}

TEST_F(DataplaneLinkTest, TellsOfFlowsWhoeverUnderstands) {
  const auto tell = [&](uint64_t hash) {
    linimo_flow_word word{};
    word.hash = hash;
    link_.tell({&word, 1});
  };
  tell(1);
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  tell(2);  // it is older
  fake_.welcome.features = protocol::kSharing;
  fake_.drop();
  ASSERT_TRUE(wait([&] { return connected_ == 2; }));
  tell(3);
  ASSERT_TRUE(wait([&] { return !fake_.told.empty(); }));
  EXPECT_EQ(fake_.told, std::vector<uint64_t>{3});
}

TEST_F(DataplaneLinkTest, AnOlderDataPlaneGetsNoHeartbeats) {
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  EXPECT_FALSE(peer_.reports);
  run_for(io_, 2 * protocol::kHeartbeatPeriod, [&] { fake_.poll(); });
  EXPECT_EQ(fake_.heartbeats, 0);
}

TEST_F(DataplaneLinkTest, PublishesSealedMemory) {
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  const auto bytes = snapshot(1);
  link_.publish(1, bytes);
  EXPECT_FALSE(link_.ready());
  ASSERT_TRUE(wait([&] { return !accepted_.empty(); }));
  EXPECT_EQ(accepted_, std::vector<uint64_t>{1});
  EXPECT_EQ(fake_.published.at(0), bytes);
  EXPECT_EQ(fake_.seals, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL);
  EXPECT_TRUE(link_.ready());
}

TEST_F(DataplaneLinkTest, HandsOnARefusal) {
  fake_.manner = Manner::kRefuse;
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  link_.publish(1, snapshot(1));
  ASSERT_TRUE(wait([&] { return !refused_.empty(); }));
  EXPECT_EQ(refused_[0].first, 1u);
  EXPECT_EQ(refused_[0].second, "not today");
  EXPECT_TRUE(link_.ready());
  EXPECT_TRUE(lost_.empty());
}

TEST_F(DataplaneLinkTest, ConnectsAgainAfterAnyMisbehaviour) {
  const std::pair<Manner, std::string_view> cases[] = {
      {Manner::kLeave, "closed the connection"},
      {Manner::kSilent, "no answer to generation 1 within 50 ms"},
      {Manner::kGarbage, "no answer to generation 1"}};
  link_.start();
  for (const auto& [manner, reason] : cases) {
    fake_.manner = manner;
    const int before = connected_;
    ASSERT_TRUE(wait([&] { return link_.ready(); }));
    lost_.clear();
    link_.publish(1, snapshot(1));
    ASSERT_TRUE(wait([&] { return !lost_.empty(); }));
    EXPECT_TRUE(last_loss_has(reason)) << lost_.back();
    EXPECT_FALSE(link_.ready());
    ASSERT_TRUE(wait([&] { return connected_ > before && link_.ready(); }));
  }
  struct Long {
    protocol::Type type = protocol::Type::kTraced;
    std::array<std::byte, protocol::kMaxMessageSize> rest{};
  };
  fake_.send(Long{});
  EXPECT_TRUE(wait([&] { return last_loss_has("an oversized message"); }));
  EXPECT_TRUE(accepted_.empty());
}

TEST_F(DataplaneLinkTest, SaysLaterThatASnapshotCouldNotBeSent) {
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  fake_.drop();
  link_.publish(1, snapshot(1));
  EXPECT_TRUE(lost_.empty()) << "not from within the call";
  ASSERT_TRUE(wait([&] { return connected_ == 2 && link_.ready(); }));
  EXPECT_EQ(lost_.size(), 1u) << "once";
  EXPECT_TRUE(accepted_.empty() && refused_.empty());
}

TEST_F(DataplaneLinkTest, TakesAFloodForTheNonsenseItIs) {
  fake_.manner = Manner::kFlood;
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  link_.publish(1, snapshot(1));
  ASSERT_TRUE(wait([&] { return connected_ == 2; }));
  EXPECT_EQ(accepted_.size(), 1u);
}

TEST_F(DataplaneLinkTest, AsksWhatWouldBecomeOfAPacket) {
  fake_.welcome.features = protocol::kTraces;
  std::vector<std::string> answers;
  const auto ask = [&](uint8_t byte) {
    protocol::Trace question;
    question.length = 1;
    question.frame[0] = byte;
    link_.trace(question, [&answers](const auto& traced) {
      answers.push_back(traced ? std::string(protocol::text_of(traced->leaves_by)) : traced.error());
    });
  };
  ask(1);
  EXPECT_EQ(answers, std::vector<std::string>{"no data plane is connected"});
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  EXPECT_TRUE(peer_.traces);
  ask(2);
  ask(3);
  ASSERT_TRUE(wait([&] { return fake_.asked.size() == 2; }));
  protocol::Traced answer;
  protocol::set_text(answer.leaves_by, "eth1");
  answer.number = fake_.asked[1].number;
  fake_.send(answer);
  answer.number = 4711;  // nobody asked that
  fake_.send(answer);
  answer.number = fake_.asked[0].number;
  protocol::set_text(answer.error, "no such interface");
  fake_.send(answer);
  ASSERT_TRUE(wait([&] { return answers.size() == 3; }));
  EXPECT_EQ(answers[1], "eth1");
  EXPECT_EQ(answers[2], "no such interface");
  ask(5);
  fake_.drop();
  ASSERT_TRUE(wait([&] { return answers.size() == 4; }));
  EXPECT_NE(answers[3], "");
  EXPECT_EQ(fake_.asked[1].frame[0], 3);
}

TEST_F(DataplaneLinkTest, AnOlderDataPlaneIsNotAsked) {
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  std::string error;
  link_.trace({}, [&error](const auto& traced) { error = traced ? "" : traced.error(); });
  EXPECT_NE(error.find("older"), std::string::npos) << error;
  link_.capture({}, UniqueFd(), [&error](const auto& begun) { error = begun ? "" : begun.error(); });
  EXPECT_NE(error.find("older than this and captures nothing"), std::string::npos) << error;
}

TEST_F(DataplaneLinkTest, AnswersAtOnceWhatCannotBeAsked) {
  fake_.welcome.features = protocol::kFlows;
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  std::vector<std::string> answers;
  const auto ask = [&] {
    link_.find_flows({}, [&answers](const auto& found) { answers.push_back(found ? "" : found.error()); });
  };
  for (size_t asked = 1; asked <= 16; ++asked) {
    ask();
    ASSERT_TRUE(wait([&] { return fake_.asked_for_flows.size() == asked; }));
  }
  EXPECT_TRUE(answers.empty());
  ask();
  EXPECT_EQ(answers, std::vector<std::string>{"too many questions at once"});
  fake_.drop();
  ASSERT_TRUE(wait([&] { return connected_ == 2; }));
  answers.clear();
  fake_.drop();
  ask();
  EXPECT_EQ(answers.size(), 1u) << "nobody reads it";
}

TEST_F(DataplaneLinkTest, AsksForFlows) {
  fake_.welcome.features = protocol::kFlows;
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  EXPECT_TRUE(peer_.flows);
  std::vector<std::string> answers;
  const auto ask = [&](uint32_t service) {
    protocol::FindFlows question;
    question.service = service;
    link_.find_flows(question, [&answers](const auto& found) {
      answers.push_back(found ? std::to_string(found->matched) : found.error());
    });
  };
  ask(1);
  ask(2);
  ASSERT_TRUE(wait([&] { return fake_.asked_for_flows.size() == 2; }));
  protocol::FoundFlows answer;
  answer.number = fake_.asked_for_flows[1].number;
  answer.matched = fake_.asked_for_flows[1].service;
  fake_.send(answer);
  answer.number = 4711;  // nobody asked that
  fake_.send(answer);
  ASSERT_TRUE(wait([&] { return answers.size() == 1; }));
  EXPECT_EQ(answers[0], "2");
  fake_.drop();
  ASSERT_TRUE(wait([&] { return answers.size() == 2; })) << "whoever waits is told that nobody will answer";
  fake_.welcome.features = protocol::kTraces;
  ASSERT_TRUE(wait([&] { return connected_ == 2; }));
  ask(3);
  EXPECT_NE(answers.back().find("older"), std::string::npos) << answers.back();
}

TEST_F(DataplaneLinkTest, HandsOverTheSocketOfACapture) {
  fake_.welcome.features = protocol::kCaptures;
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  EXPECT_TRUE(peer_.captures);
  std::vector<std::string> answers;
  const auto ask = [&] {
    int ends[2] = {-1, -1};
    EXPECT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
    link_.capture({}, UniqueFd(ends[1]), [&answers](const auto& capturing) {
      answers.emplace_back(capturing ? protocol::text_of(capturing->interfaces[0]) : capturing.error());
    });
    return UniqueFd(ends[0]);
  };
  const UniqueFd first = ask(), second = ask();
  ASSERT_TRUE(wait([&] { return fake_.asked_to_capture.size() == 2; }));
  EXPECT_EQ(1, send(fake_.asked_to_capture[0].second.get(), "x", 1, MSG_NOSIGNAL));
  char byte = 0;
  EXPECT_EQ(1, recv(first.get(), &byte, 1, MSG_DONTWAIT));
  protocol::Capturing answer;
  answer.number = fake_.asked_to_capture[0].first.number;
  protocol::set_text(answer.interfaces[0], "eth0");
  fake_.send(answer);
  answer.number = fake_.asked_to_capture[1].first.number;
  protocol::set_text(answer.error, "one at a time");
  fake_.send(answer);
  ASSERT_TRUE(wait([&] { return answers.size() == 2; }));
  EXPECT_EQ(answers, (std::vector<std::string>{"eth0", "one at a time"}));
  fake_.asked_to_capture.clear();
  EXPECT_EQ(0, recv(first.get(), &byte, 1, MSG_DONTWAIT)) << "the other end is held by nobody else";
  const UniqueFd third = ask();
  ASSERT_TRUE(wait([&] { return fake_.asked_to_capture.size() == 1; }));
  fake_.drop();
  ASSERT_TRUE(wait([&] { return answers.size() == 3; })) << "nobody will answer";
}

TEST_F(DataplaneLinkTest, SurvivesAGreetingOfAnyKind) {
  const std::pair<Manner, std::string_view> cases[] = {
      {Manner::kLeave, "closed the connection"},
      {Manner::kSilent, "no welcome within 50 ms"},
      {Manner::kGarbage, "a message that is no welcome"},
      {Manner::kRefuse, "refused by the data plane: not today"}};
  link_.start();
  for (const auto& [greeting, reason] : cases) {
    fake_.greeting = greeting;
    ASSERT_TRUE(wait([&, reason = reason] { return last_loss_has(reason); }))
        << reason << ", not " << (lost_.empty() ? "" : lost_.back());
  }
  EXPECT_EQ(connected_, 0);
  fake_.greeting = Manner::kWell;
  EXPECT_TRUE(wait([&] { return connected_ == 1; }));
}

TEST_F(DataplaneLinkTest, RefusesAWelcomeThatDoesNotAddUp) {
  fake_.welcome.abi = LINIMO_ABI_VERSION + 1;
  link_.start();
  ASSERT_TRUE(wait([&] { return last_loss_has("was not offered"); }));
  fake_.welcome.abi = LINIMO_ABI_VERSION;
  fake_.with_counters = false;
  ASSERT_TRUE(wait([&] { return last_loss_has("a welcome with 0 descriptors"); }));
  EXPECT_EQ(connected_, 0);
}

TEST_F(DataplaneLinkTest, GoesOnWithoutALiveSnapshotThatCannotBeRead) {
  fake_.welcome.generation = 9;
  fake_.live = std::vector<std::byte>(500);
  link_.start();
  ASSERT_TRUE(wait([&] { return connected_ == 1; }));
  EXPECT_NE(peer_.snapshot_error, "");
  EXPECT_EQ(live_.generation, 9u);
  EXPECT_TRUE(live_.bytes.empty());

  fake_.live = snapshot(8);
  fake_.drop();
  ASSERT_TRUE(wait([&] { return connected_ == 2; }));
  EXPECT_EQ(peer_.snapshot_error, "generation 8 instead of 9");
}

TEST_F(DataplaneLinkTest, WaitsForADataPlaneThatIsNotThere) {
  unlink((folder_.path() / "dataplane.sock").c_str());
  link_.start();
  ASSERT_TRUE(wait([&] { return lost_.size() >= 2; }));
  EXPECT_TRUE(last_loss_has("No such file or directory"));
  EXPECT_FALSE(link_.ready());
}

}  // namespace
}  // namespace linimo
