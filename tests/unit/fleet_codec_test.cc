// Records of a fleet's store as bytes: what is written is read again, and what is cut or made up is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controlplane/fleet/codec.h"
#include "controlplane/member/beacon.h"

namespace linimo::fleet {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

std::shared_ptr<const BackendStates> states(BackendStates of) {
  return std::make_shared<const BackendStates>(std::move(of));
}

StateRecord state_record() {
  StateRecord record;
  record.fence = {2, 77};
  record.number = 9;
  record.backends = states({{"web/10.0.0.1", HealthState::kUp, false},
                            {"web/10.0.0.2", HealthState::kDown, true},
                            {"web/10.0.0.3", HealthState::kUnknown, false},
                            {"web/10.0.0.5", HealthState::kUp, false, true},
                            {"web/10.0.0.6", HealthState::kUp, true, true}});
  record.excused = {"lb1", "lb2"};
  record.history = {
      {7, states({{"web/10.0.0.1", HealthState::kUp, false}, {"web/10.0.0.4", HealthState::kUp, true}}),
       milliseconds(1500)},
      {6, states({}), milliseconds(10)},
      {6, states({{"a/1", HealthState::kDown, false}}), milliseconds(1)}};
  return record;
}

bool same(const StateRecord& a, const StateRecord& b) {
  if (a.fence != b.fence || a.number != b.number || *a.backends != *b.backends || a.excused != b.excused ||
      a.history.size() != b.history.size())
    return false;
  for (size_t i = 0; i < a.history.size(); ++i) {
    if (a.history[i].revision != b.history[i].revision || a.history[i].ago != b.history[i].ago ||
        *a.history[i].backends != *b.history[i].backends)
      return false;
  }
  return true;
}

TEST(FleetCodec, KeysComeBackAsTheyAreWritten) {
  for (const Key& key :
       {Key{KeyKind::kEpoch}, Key{KeyKind::kRevision}, Key{KeyKind::kActive}, Key{KeyKind::kState},
        Key{KeyKind::kLeader}, Key{KeyKind::kNode, 0, "lb1"}, Key{KeyKind::kObservations, 0, "lb1"},
        Key{KeyKind::kReady, 18446744073709551615u, "lb1"}, Key{KeyKind::kDrainBackend, 0, "web/2001:db8::1"},
        Key{KeyKind::kDrainNode, 0, "lb1"}}) {
    const auto read = key_of(text(key));
    ASSERT_TRUE(read) << text(key);
    EXPECT_EQ(*read, key);
  }
  for (const char* text :
       {"", "later", "nodes/", "nodes", "ready/1/lb1", "ready/0000000000000000000x/lb1",
        "ready/00000000000000000001/", "ready/00000000000000000001", "ready/00000000000000000001xlb1",
        "ready/99999999999999999999/lb1", "drains/else/x"})
    EXPECT_FALSE(key_of(text)) << text;
  EXPECT_TRUE(key_of("nodes/" + std::string(128, 'n')));
  EXPECT_FALSE(key_of("nodes/" + std::string(129, 'n'))) << "longer than a name is";
}

TEST(FleetCodec, RecordsComeBackAsTheyAreWritten) {
  const std::pair<KeyKind, Value> records[] = {
      {KeyKind::kEpoch, EpochRecord{3, "uid 0"}},
      {KeyKind::kRevision, RevisionRecord{18446744073709551615u, 0xfedcba9876543210, "uid 0"}},
      {KeyKind::kActive, ActiveRecord{{1, 5}, 7, 1}},
      {KeyKind::kLeader, LeaderRecord{"lb1", 4}},
      {KeyKind::kNode, NodeRecord{4, "{\"x\":\"\\u0001\"}", {"2001:db8::/64", "203.0.113.1"}, "10.0.0.1"}},
      {KeyKind::kObservations, ObservationsRecord{{{"web/1", {HealthState::kUp, true}},
                                                   {"web/2", HealthState::kUnknown},
                                                   {"web/3", {HealthState::kUp, true, 3}},
                                                   {"web/4", {HealthState::kUp, false, 0}}},
                                                  "contradiction"}},
      {KeyKind::kReady, ReadyRecord{4, 8, "linimo.toml:3:1: no"}},
      {KeyKind::kDrainNode, DrainRecord{"uid 0"}}};
  for (const auto& [kind, value] : records) {
    const auto read = decode(kind, encode(value));
    ASSERT_TRUE(read) << read.error();
    EXPECT_EQ(encode(*read), encode(value));
    EXPECT_EQ(read->index(), value.index());
    if (const auto* seen = std::get_if<ObservationsRecord>(&value)) {
      EXPECT_EQ(std::get<ObservationsRecord>(*read), *seen);
    }
  }
  const auto read = decode(KeyKind::kState, encode(Value(state_record())));
  ASSERT_TRUE(read) << read.error();
  EXPECT_TRUE(same(std::get<StateRecord>(*read), state_record()));
}

TEST(FleetCodec, HistoryOfManyBackendsOfWhichFewChangedIsSmall) {
  StateRecord record;
  BackendStates all;
  for (int i = 0; i < 2000; ++i) all.push_back({"web/" + std::to_string(10000 + i), HealthState::kUp, false});
  record.backends = states(all);
  for (size_t i = 0; i < kMostPast; ++i) {
    all[i].health = HealthState::kDown;
    record.history.push_back({1, states(all), milliseconds(1)});
  }
  EXPECT_LT(encode(Value(record)).size(), 50'000u);
}

TEST(FleetCodec, EveryCutOfARecordIsRefused) {
  const std::string whole = encode(Value(state_record()));
  for (size_t length = 0; length < whole.size(); ++length)
    EXPECT_FALSE(decode(KeyKind::kState, whole.substr(0, length))) << length;
}

TEST(FleetCodec, WhatMakesNoSenseIsRefusedWithAReason) {
  const auto why = [](KeyKind kind, const std::string& bytes) {
    const auto read = decode(kind, bytes);
    return read ? std::string("taken") : read.error();
  };
  EXPECT_THAT(why(KeyKind::kEpoch, "[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(why(KeyKind::kEpoch, R"({"by":"x"})"), HasSubstr("no \"number\""));
  EXPECT_THAT(why(KeyKind::kEpoch, R"({"number":-1,"by":"x"})"), HasSubstr("no whole number"));
  EXPECT_THAT(why(KeyKind::kEpoch, R"({"number":1.5,"by":"x"})"), HasSubstr("no whole number"));
  EXPECT_THAT(
      why(KeyKind::kActive, R"({"fence":{"epoch":1,"leader":9223372036854775808},"number":1,"digest":"1"})"),
      HasSubstr("too large"));
  EXPECT_THAT(why(KeyKind::kRevision, R"({"number":1,"digest":"xyz","by":""})"), HasSubstr("no digest"));
  EXPECT_THAT(why(KeyKind::kNode, R"({"instance":1,"about":"","announces":["b","a"]})"),
              HasSubstr("not in order"));
  EXPECT_THAT(why(KeyKind::kObservations, R"({"backends":{"a":"z"},"complaint":""})"), HasSubstr("neither"));
  EXPECT_THAT(why(KeyKind::kObservations, R"({"backends":{"a":"ulx"},"complaint":""})"),
              HasSubstr("eighths"));
  EXPECT_THAT(why(KeyKind::kObservations, R"({"backends":{"a":"d0"},"complaint":""})"), HasSubstr("eighths"));
  EXPECT_THAT(why(KeyKind::kObservations, R"({"backends":{"a":"u8"},"complaint":""})"), HasSubstr("eighths"));
  EXPECT_THAT(why(KeyKind::kObservations, R"({"backends":{"a":"u3x"},"complaint":""})"),
              HasSubstr("eighths"));
  EXPECT_THAT(
      why(KeyKind::kReady, R"({"instance":1,"digest":"1","refusal":")" + std::string(5000, 'x') + "\"}"),
      HasSubstr("longer than"));
  EXPECT_THAT(why(KeyKind::kEpoch, R"({"number":1,"by":7})"), HasSubstr("by is no text"));
  EXPECT_THAT(why(KeyKind::kRevision, R"({"number":1,"digest":"","by":""})"), HasSubstr("no digest"));
  EXPECT_THAT(why(KeyKind::kRevision, R"({"number":1,"digest":"1g","by":""})"), HasSubstr("no digest"));
  EXPECT_THAT(why(KeyKind::kNode, R"({"instance":1,"about":"","announces":{}})"), HasSubstr("no list"));
  EXPECT_THAT(why(KeyKind::kObservations, R"({"backends":[],"complaint":""})"), HasSubstr("no object"));
  EXPECT_THAT(why(KeyKind::kObservations, R"({"backends":{"":"u"},"complaint":""})"),
              HasSubstr("empty or too long"));
  EXPECT_THAT(
      why(KeyKind::kObservations, R"({"backends":{")" + std::string(129, 'n') + R"(":"u"},"complaint":""})"),
      HasSubstr("empty or too long"));
  EXPECT_THAT(why(KeyKind::kObservations, R"({"backends":{"a":""},"complaint":""})"), HasSubstr("neither"));
  EXPECT_THAT(why(KeyKind::kObservations, R"({"backends":{"a":"u/"},"complaint":""})"), HasSubstr("eighths"));
  const auto state_with = [&](const std::string& history) {
    return why(KeyKind::kState,
               R"({"fence":{"epoch":1,"leader":1},"number":1,"backends":{},"excused":[],"history":[)" +
                   history + "]}");
  };
  const std::string past = R"({"revision":1,"changes":{},"ago_ms":86400000})";
  EXPECT_EQ(state_with(past), "taken");
  EXPECT_THAT(state_with(R"({"revision":1,"changes":{},"ago_ms":86400000001})"),
              HasSubstr("more than a day"));
  std::string many = past;
  for (size_t i = 0; i < kMostPast; ++i) many += "," + past;
  EXPECT_THAT(state_with(many), HasSubstr("more than 64 tables"));
  EXPECT_THAT(why(KeyKind::kEpoch, encode(Value(std::monostate()))), HasSubstr("no JSON object"))
      << "what could not be read is not written as anything that could";
  EXPECT_FALSE(decode_heartbeat(R"({"node":"lb1","instance":1,"sequence":1,"table":[],"digest":"1"})"));
  EXPECT_THAT(why(KeyKind::kEpoch, std::string(kMostValueBytes + 1, ' ')), HasSubstr("more than"));
  EXPECT_EQ(why(KeyKind::kEpoch, R"({"number":1,"by":"x","of a later version":[]})"), "taken");
}

TEST(FleetCodec, WhatANodeRemembersComesBack) {
  Remembered remembered;
  remembered.instance = 12;
  remembered.memory.floors = {1, 2, 3, 4, 0xffffffffffffffff, {1, 3}, 6};
  remembered.memory.table.revision = 4;
  remembered.memory.table.documents = 0xffffffffffffffff;
  remembered.memory.table.state = std::make_shared<const StateRecord>(state_record());
  remembered.live = {4, 0xffffffffffffffff, 6, {1, 3}};
  remembered.live_generation = 8;
  remembered.live_digest = 9;
  const auto read = decode_remembered(encode(remembered));
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(encode(*read), encode(remembered));
  EXPECT_EQ(read->live, remembered.live);
  EXPECT_EQ(read->memory.floors.store, 2);
  EXPECT_TRUE(same(*read->memory.table.state, state_record()));
  EXPECT_TRUE(decode_remembered(encode(Remembered())));
}

TEST(FleetBeacon, OnlyWhatIsSignedWithTheSecretIsTaken) {
  const Heartbeat heartbeat{"lb1", 3, 4, {1, 2, 3, {1, 5}}, 6};
  const std::string datagram = sign(heartbeat, "secret");
  const auto read = verify(datagram, "secret");
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(std::get<Heartbeat>(*read).node, "lb1");
  EXPECT_EQ(std::get<Heartbeat>(*read).sequence, 4u);
  EXPECT_EQ(std::get<Heartbeat>(*read).table, heartbeat.table);
  EXPECT_FALSE(verify(datagram, "another"));
  for (size_t i = 0; i < datagram.size(); ++i) {
    std::string forged = datagram;
    forged[i] = static_cast<char>(forged[i] ^ 1);
    EXPECT_FALSE(verify(forged, "secret")) << i;
    EXPECT_FALSE(verify(std::string_view(datagram).substr(0, i), "secret")) << i;
  }
}

FlowNews news() {
  FlowNews some{"lb1", 3, 4, {}};
  for (uint64_t i = 0; i < FlowNews::kMost; ++i)
    some.flows.push_back({i << 40, name_digest("s"), name_digest("p/10.0.0.1"), i % 3 == 1, i % 3 == 2});
  return some;
}

TEST(FleetFlowNews, AreReadAsTheyWereWritten) {
  const std::string datagram = sign(news(), "secret");
  EXPECT_LE(datagram.size(), 1400u);
  const auto read = verify(datagram, "secret");
  ASSERT_TRUE(read) << read.error();
  const auto& taken = std::get<FlowNews>(*read);
  EXPECT_EQ(taken.node, "lb1");
  EXPECT_EQ(taken.instance, 3u);
  EXPECT_EQ(taken.sequence, 4u);
  EXPECT_EQ(taken.flows, news().flows);
  EXPECT_FALSE(verify(datagram, "another"));
}

TEST(FleetFlowNews, WhatIsCutShortOrTooLongIsRefused) {
  const std::string content = encode(news());
  size_t whole = 0;
  for (size_t length = 0; length < content.size(); ++length)
    whole += decode_flow_news(content.substr(0, length)) ? 1 : 0;
  EXPECT_EQ(whole, FlowNews::kMost) << "only where a flow ends";
  FlowNews more = news();
  more.flows.push_back({});
  EXPECT_FALSE(decode_flow_news(encode(more)));
  for (const std::string& name : {std::string(), std::string(129, 'n')}) {
    FlowNews of_nobody = news();
    of_nobody.node = name;
    EXPECT_EQ(decode_flow_news(encode(of_nobody)).error(), "a node's name of no sensible length");
  }
  std::string neither = content;
  neither.back() = 3;
  EXPECT_FALSE(decode_flow_news(neither));
}

TEST(FleetFlowNews, AreTakenOfLivingMembersInTheirOrderAndSoManyASecond) {
  FlowNewsGate gate;
  const auto now = FlowNewsGate::Time() + std::chrono::hours(1);
  FlowNews said = news();
  EXPECT_FALSE(gate.admits(said, 0, now)) << "nobody of that name lives";
  EXPECT_FALSE(gate.admits(said, 4, now)) << "of a process that has ended";
  EXPECT_TRUE(gate.admits(said, 3, now));
  EXPECT_FALSE(gate.admits(said, 3, now)) << "once more";
  --said.sequence;
  EXPECT_FALSE(gate.admits(said, 3, now)) << "too late";
  said.instance = 5;
  EXPECT_TRUE(gate.admits(said, 5, now)) << "it has started anew";
  size_t flows = 0;
  for (said.sequence = 100; said.sequence < 1000; ++said.sequence)
    flows += gate.admits(said, 5, now) ? said.flows.size() : 0;
  EXPECT_LE(flows, FlowNewsGate::kMostPerSecond);
  EXPECT_GE(flows, FlowNewsGate::kMostPerSecond / 2);
  said.sequence = 2000;
  EXPECT_TRUE(gate.admits(said, 5, now + std::chrono::seconds(1)));
}

}  // namespace
}  // namespace linimo::fleet
