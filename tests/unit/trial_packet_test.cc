// The packet that somebody asks about: well formed, as asked, or refused with what was expected.

#include "controlplane/trace/trial_packet.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "controlplane/trace/account.h"
#include "maglev/rules/choice.h"

namespace linimo {
namespace {

uint16_t sum(const std::vector<uint8_t>& bytes, size_t from, size_t to, uint64_t start = 0) {
  for (size_t i = from; i < to; ++i) start += (i - from) % 2 == 0 ? uint64_t{bytes[i]} << 8 : bytes[i];
  while (start >> 16 != 0) start = (start & 0xffff) + (start >> 16);
  return static_cast<uint16_t>(start);
}

TEST(TrialPacket, IsATcpPacketThatBeginsAConnection) {
  const auto packet = trial_packet("protocol=tcp&from=198.51.100.7:4242&to=203.0.113.10:443");
  ASSERT_TRUE(packet) << packet.error();
  const auto& frame = packet->frame;
  ASSERT_EQ(frame.size(), 14u + 40);
  EXPECT_EQ(frame[12], 0x08);
  EXPECT_EQ(sum(frame, 14, 34), 0xffff);
  EXPECT_EQ(
      (std::vector<uint8_t>(frame.begin() + 26, frame.begin() + 38)),
      (std::vector<uint8_t>{198, 51, 100, 7, 203, 0, 113, 10, 4242 >> 8, 4242 & 255, 443 >> 8, 443 & 255}));
  EXPECT_EQ(frame[47], 0x02);
  EXPECT_EQ(sum(frame, 34, 54, sum(frame, 26, 34, 6 + 20)), 0xffff);
  EXPECT_TRUE(packet->addressed);
  EXPECT_EQ(packet->text, "tcp 198.51.100.7:4242 -> 203.0.113.10:443, 40 bytes, flags S");
}

/// As browsers and libraries send it; what is no such escape is refused, not read past.
TEST(TrialPacket, IsTheSameWithPercentSigns) {
  const auto packet =
      trial_packet("protocol=tcp&from=%5B2001:db8::7%5d%3A4242&to=[2001:db8:f::10]%3A443&fl%61gs=A");
  ASSERT_TRUE(packet) << packet.error();
  EXPECT_EQ(packet->text, "tcp [2001:db8::7]:4242 -> [2001:db8:f::10]:443, 60 bytes, flags A");
  for (const char* odd : {"%", "%3", "%3x", "%%33", "3%"})
    EXPECT_FALSE(trial_packet(std::string("protocol=tcp&from=198.51.100.7:4242&to=203.0.113.10:44") + odd))
        << odd;
}

TEST(TrialPacket, HasTheChecksumsOfEveryKind) {
  for (const char* query : {"protocol=tcp&from=[2001:db8::7]:1&to=[2001:db8:f::10]:443&flags=PA&size=1001",
                            "protocol=udp&from=[2001:db8::7]:1&to=[2001:db8:f::10]:443&quic_id=0102",
                            "protocol=icmp&from=2001:db8::7&to=2001:db8:f::10&size=99"}) {
    const auto packet = trial_packet(query);
    ASSERT_TRUE(packet) << packet.error();
    const auto& frame = packet->frame;
    const size_t length = frame.size() - 14 - 40;
    EXPECT_EQ(frame[18] << 8 | frame[19], static_cast<int>(length));
    EXPECT_EQ(sum(frame, 54, frame.size(), sum(frame, 22, 54, frame[20] + length)), 0xffff) << query;
  }
  const auto echo = trial_packet("protocol=icmp&from=198.51.100.7&to=203.0.113.10");
  ASSERT_TRUE(echo);
  EXPECT_EQ(echo->frame[34], 8);
  EXPECT_EQ(sum(echo->frame, 34, echo->frame.size()), 0xffff);
}

TEST(TrialPacket, TakesARealFrameAsItIs) {
  const auto packet = trial_packet("frame=0102030405060708090a0b0c0800ff&interface=eth1");
  ASSERT_TRUE(packet) << packet.error();
  EXPECT_EQ(packet->frame.size(), 15u);
  EXPECT_EQ(packet->frame.back(), 0xff);
  EXPECT_FALSE(packet->addressed);
  EXPECT_EQ(packet->interface, "eth1");
}

TEST(TrialPacket, RefusesWhatIsNoPacket) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "protocol"},
      {"protocol=sctp&from=1.2.3.4:1&to=1.2.3.4:2", "protocol"},
      {"protocol=tcp&from=1.2.3.4&to=1.2.3.4:2", "ADDRESS:PORT"},
      {"protocol=tcp&from=2001:db8::1:80&to=1.2.3.4:2", "ADDRESS:PORT"},
      {"protocol=tcp&from=1.2.3.4:0&to=1.2.3.4:2", "ADDRESS:PORT"},
      {"protocol=tcp&from=1.2.3.4:1&to=1.2.3.4:65536", "ADDRESS:PORT"},
      {"protocol=tcp&from=1.2.3.4:1&to=[2001:db8::1]:2", "one family"},
      {"protocol=icmp&from=1.2.3.4:1&to=1.2.3.4", "addresses"},
      {"protocol=tcp&from=1.2.3.4:1&to=1.2.3.4:2&flags=X", "flags"},
      {"protocol=udp&from=1.2.3.4:1&to=1.2.3.4:2&flags=S", "flags"},
      {"protocol=udp&from=1.2.3.4:1&to=1.2.3.4:2&size=27", "28 to"},
      {"protocol=udp&from=1.2.3.4:1&to=1.2.3.4:2&size=70000", "28 to"},
      {"protocol=udp&from=1.2.3.4:1&to=1.2.3.4:2&size=many", "size"},
      {"protocol=tcp&from=1.2.3.4:1&to=1.2.3.4:2&quic_id=00", "quic_id"},
      {"protocol=udp&from=1.2.3.4:1&to=1.2.3.4:2&quic_id=0", "quic_id"},
      {"protocol=tcp&from=1.2.3.4:1&to=1.2.3.4:2&colour=red", "colour"},
      {"frame=0102", "frame"},
      {"frame=zz", "frame"}};
  for (const auto& [query, expected] : cases) {
    const auto packet = trial_packet(query);
    ASSERT_FALSE(packet) << query;
    EXPECT_NE(packet.error().find(expected), std::string::npos) << query << ": " << packet.error();
  }
}

TEST(TraceAccount, HasWordsForWhateverADataPlaneSays) {
  const TraceNames names{[](uint32_t) { return "web"; },
                         [](uint32_t) { return "web/10.0.1.1"; },
                         [](uint32_t) { return "up"; },
                         [](uint32_t) { return "10.0.1.1"; },
                         "worker",
                         [](uint32_t) { return ""; }};
  uint64_t random = 1;
  for (int i = 0; i < 1000; ++i) {
    protocol::Traced traced;
    auto* words = reinterpret_cast<uint32_t*>(&traced.told);
    for (size_t word = 0; word < sizeof traced.told / 4; ++word) {
      random = random * 6364136223846793005 + 1442695040888963407;
      words[word] =
          random >> 62 == 0 ? static_cast<uint32_t>(random >> 32) : static_cast<uint32_t>(random >> 60);
    }
    traced.length = static_cast<uint16_t>(i % 97 == 0 ? random >> 32 : random >> 58);
    const auto account = trace_account({{}, true, "", "a packet"}, traced, names);
    EXPECT_EQ(account["steps"].back()["step"], "outcome");
    EXPECT_FALSE(account["outcome"].get<std::string>().empty());
  }
}

/// What each step says, and on what ground: a table of what an engine tells and of the words that must stand
/// there.
TEST(TraceAccount, SaysWhyInWords) {
  const TraceNames names{[](uint32_t) { return "web"; },
                         [](uint32_t) { return "web/10.0.1.1"; },
                         [](uint32_t) { return "draining"; },
                         [](uint32_t) { return "10.0.1.1"; },
                         "worker",
                         [](uint32_t) { return "weighted-turn"; }};
  const linimo_trace chosen = [] {
    linimo_trace told{};
    told.generation = 7;
    told.reached = LINIMO_TRACE_CHOSEN;
    told.vip_bits = 128;
    told.table_size = 251;
    told.slot = 17;
    told.decider = LINIMO_TRACE_BY_SLOT;
    return told;
  }();
  struct Case {
    const char* step;
    const char* words;
    void (*tell)(linimo_trace& told);
  };
  const Case cases[] = {
      {"flow", "slot 17 of 251, settled", [](auto&) {}},
      {"flow", "whose backend changed lately (unsettled)", [](auto& told) { told.unsettled = 1; }},
      {"backend", "web/10.0.1.1, by the pool's table; it is draining", [](auto&) {}},
      {"backend", "where the slot's flows went before its change",
       [](auto& told) { told.decider = LINIMO_TRACE_BY_BASE; }},
      {"backend", "by the service's scheduler (weighted-turn)",
       [](auto& told) { told.decider = LINIMO_TRACE_BY_SCHEDULER; }},
      {"backend", "named by the QUIC connection id", [](auto& told) { told.decider = LINIMO_TRACE_BY_NAME; }},
      {"backend", "where a node of the fleet has said that the flow goes",
       [](auto& told) { told.decider = LINIMO_TRACE_BY_WORD; }},
      {"backend", "and gets no new flows", [](auto& told) { told.keeps_only = 1; }},
      {"tracking", "this flow needs none", [](auto&) {}},
      {"tracking", "no entry; a real packet would make one",
       [](auto& told) {
         told.tracked = 1;
         told.memory = LINIMO_TRACE_KEEPS_NEW;
       }},
      {"tracking", "last packet 2.5 s ago; followed",
       [](auto& told) {
         told.tracked = told.entry = told.entry_use = 1;
         told.entry_age = 2500;
       }},
      {"source", "not in the service's allow_sources",
       [](auto& told) {
         told.reached = LINIMO_TRACE_SERVICE;
         told.table_size = 0;
         told.outcome = LINIMO_OUTCOME_not_allowed;
       }},
      {"outcome", "not_allowed: the packet is dropped: the service's allow_sources does not hold its source",
       [](auto& told) {
         told.reached = LINIMO_TRACE_SERVICE;
         told.outcome = LINIMO_OUTCOME_not_allowed;
       }},
  };
  for (const Case& one : cases) {
    protocol::Traced traced{};
    traced.told = chosen;
    one.tell(traced.told);
    const auto account = trace_account({{}, true, "", "a packet"}, traced, names);
    std::string said;
    for (const auto& step : account["steps"]) {
      if (step["step"] == one.step) said += step["says"].get<std::string>() + '\n';
    }
    EXPECT_NE(said.find(one.words), std::string::npos) << one.step << ": " << said;
  }
}

}  // namespace
}  // namespace linimo
