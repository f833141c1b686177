// Fragments between the nodes of a fleet, in each engine: which are passed on, what becomes of those that
// were, and what is told of datagrams while nodes may differ in who handles them (maglev/rules/passing.h).

#include <algorithm>
#include <optional>

#include <gtest/gtest.h>

#include "tests/packets/tracking_fixture.h"
#include "tests/packets/wire.h"

namespace linimo::tests {
namespace {

constexpr uint32_t kNodeId = 77'777;
constexpr uint16_t kEgressMtu = 9000;
constexpr size_t kEthernet = 14;
const Address kNode4 = *Address::parse("10.77.0.2"), kNode6 = *Address::parse("fd77::2");

enum class Handles { kThis, kOther };

class Nodes : public Tracking {
 protected:
  /// A datagram's fragments, first to last, all to one backend.
  std::vector<Step> fragments() const {
    const auto& cases = case_file().cases;
    std::vector<Step> steps = std::find_if(cases.begin(), cases.end(), [&](const Case& one) {
                                return one.name == "fragments_in_order" + family() + "_ipip4_17";
                              })->steps;
    std::erase_if(steps, [](const Step& step) { return step.settles; });
    return steps;
  }

  /// This node as one of two, of which the one or the other handles whatever comes.
  static Configuration of_two(const Address& other, Handles handles) {
    Configuration configuration = case_file().configuration;
    SnapshotSpec& snapshot = configuration.snapshot;
    PoolSpec nodes{.name = ":nodes", .encapsulation = LINIMO_ENCAP_GRE, .backends = {}, .table = nullptr};
    nodes.backends.push_back({.address = other, .id = kNodeId});
    nodes.table = handles == Handles::kOther ? make_handler_table(nodes.backends, std::nullopt, 251)
                                             : make_pool_table({}, 251);  // all of it this node's
    snapshot.pools.push_back(nodes);
    snapshot.has_node_pool = true;
    const auto resolved =
        std::find_if(configuration.next_hops.begin(), configuration.next_hops.end(), [](const auto& hop) {
          return hop.second.state == NextHop::kResolved && hop.second.tags[0].tpid == 0;
        });
    NextHop hop = resolved->second;
    hop.mtu = kEgressMtu;
    configuration.next_hops.emplace_back(kNodeId, hop);
    return configuration;
  }
  static NextHop& way_to_node(Configuration& configuration) { return configuration.next_hops.back().second; }

  /// Where this node's tunnels begin, and others' to it end.
  static Address own(const Address& other) {
    const SnapshotSpec& snapshot = case_file().configuration.snapshot;
    return other.is_v4() ? snapshot.encap_source4 : snapshot.encap_source6;
  }

  /// The frame as another node passes it on: in GRE, in front of it the Ethernet header of the frame.
  static Bytes passed(const Bytes& frame, const Address& from, const Address& to) {
    const ByteView inner = *ip_packet(frame);
    Bytes out(frame.begin(), frame.begin() + 12);
    const auto put16 = [&](size_t value) {
      out.push_back(static_cast<uint8_t>(value >> 8));
      out.push_back(static_cast<uint8_t>(value));
    };
    const size_t length = inner.size() + 4;
    put16(from.is_v4() ? kTypeIpv4 : kTypeIpv6);
    if (from.is_v4()) {
      const size_t begin = out.size();
      put16(0x4500);
      put16(20 + length);
      put16(7);
      put16(0);
      put16(64 << 8 | 47);
      put16(0);
      out.insert(out.end(), from.bytes.begin() + 12, from.bytes.end());
      out.insert(out.end(), to.bytes.begin() + 12, to.bytes.end());
      uint64_t sum = sum_of(ByteView(out).subspan(begin, 20));
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
      out[begin + 10] = static_cast<uint8_t>(~sum >> 8);
      out[begin + 11] = static_cast<uint8_t>(~sum);
    } else {
      put16(0x6000);
      put16(0);
      put16(length);
      put16(47 << 8 | 64);
      out.insert(out.end(), from.bytes.begin(), from.bytes.end());
      out.insert(out.end(), to.bytes.begin(), to.bytes.end());
    }
    put16(0);
    put16(inner[0] >> 4 == 4 ? kTypeIpv4 : kTypeIpv6);
    out.insert(out.end(), inner.begin(), inner.end());
    return out;
  }

  Result run(const Bytes& frame, uint64_t after_ms = 0) {
    Result result = engine.run(frame, kStart_ms + after_ms);
    EXPECT_EQ(result.fault, "");
    return result;
  }
};

TEST_P(Nodes, FragmentsGoToTheNodeThatHandlesThem) {
  for (const Address& node : {kNode4, kNode6}) {
    Configuration configuration = of_two(node, Handles::kOther);
    begin(configuration);
    for (const Step& step : fragments()) {
      const Result result = run(step.frame);
      ASSERT_EQ(result.counter, LINIMO_OUTCOME_fragment_passed) << outcome_name(result.counter);
      const ByteView inner = *ip_packet(step.frame), outer = *ip_packet(result.bytes);
      const size_t header = (node.is_v4() ? 20 : 40) + 4;
      ASSERT_EQ(outer.size(), inner.size() + header);
      EXPECT_TRUE(std::ranges::equal(outer.subspan(header), inner)) << "no byte of it is altered";
      EXPECT_EQ(payload_of(outer)->protocol, 47);
      if (node.is_v4()) {
        EXPECT_EQ(be16(outer, 6), 0x4000) << "a router on the way says what is too long";
        EXPECT_EQ(be16(outer, 4), 0);
      }
      const size_t length = node.is_v4() ? 4 : 16, at = node.is_v4() ? 12 : 8;
      const Address from = own(node);
      EXPECT_TRUE(std::equal(from.bytes.end() - static_cast<ptrdiff_t>(length), from.bytes.end(),
                             outer.begin() + static_cast<ptrdiff_t>(at)));
      EXPECT_TRUE(std::equal(node.bytes.end() - static_cast<ptrdiff_t>(length), node.bytes.end(),
                             outer.begin() + static_cast<ptrdiff_t>(at + length)));
      const NextHop& hop = way_to_node(configuration);
      EXPECT_TRUE(std::equal(hop.mac.begin(), hop.mac.end(), result.bytes.begin()));
    }
  }
}

TEST_P(Nodes, WholePacketsStay) {
  begin(of_two(kNode4, Handles::kOther));
  for (const char* kind : {"flows_spread_tracked", kUdp}) {
    EXPECT_EQ(run(packet(1, kAck, kind)).counter, LINIMO_OUTCOME_forwarded);
  }
}

TEST_P(Nodes, WhatThisNodeHandlesItServes) {
  begin(of_two(kNode4, Handles::kThis));
  for (const Step& step : fragments()) EXPECT_EQ(run(step.frame).counter, LINIMO_OUTCOME_forwarded);
  engine.forget_flows();
  EXPECT_EQ(run(fragments()[1].frame).way, Left::Way::kHeld);
  engine.forget_flows();
}

// As if it had come by itself, to the byte; and never passed on twice, whatever the table says.
TEST_P(Nodes, WhatWasPassedOnIsServed) {
  begin(case_file().configuration);
  std::vector<Bytes> expected;
  for (const Step& step : fragments()) expected.push_back(run(step.frame).bytes);
  for (const Address& node : {kNode4, kNode6}) {
    for (const Handles handles : {Handles::kThis, Handles::kOther}) {
      begin(of_two(node, handles));
      for (size_t i = 0; i < expected.size(); ++i) {
        const Result result = run(passed(fragments()[i].frame, node, own(node)));
        EXPECT_EQ(result.counter, LINIMO_OUTCOME_forwarded) << outcome_name(result.counter);
        EXPECT_EQ(hex(result.bytes), hex(expected[i]));
      }
    }
  }
}

TEST_P(Nodes, WhatWasPassedOnWaitsForItsFirst) {
  begin(of_two(kNode4, Handles::kOther));
  EXPECT_EQ(run(passed(fragments()[1].frame, kNode4, own(kNode4))).way, Left::Way::kHeld);
  EXPECT_EQ(run(passed(fragments()[0].frame, kNode4, own(kNode4)), 5).counter, LINIMO_OUTCOME_forwarded);
  const std::vector<Result> released = engine.pass_time(kStart_ms + 10);
  ASSERT_EQ(released.size(), 1U);
  EXPECT_EQ(released.front().counter, LINIMO_OUTCOME_forwarded);
}

// Who knows where the first went sends the others there.
TEST_P(Nodes, AKnownDatagramIsNotPassedOn) {
  begin(of_two(kNode4, Handles::kOther));
  ASSERT_EQ(run(passed(fragments()[0].frame, kNode4, own(kNode4))).counter, LINIMO_OUTCOME_forwarded);
  EXPECT_EQ(run(fragments()[1].frame).counter, LINIMO_OUTCOME_forwarded);
}

// All other tunnels are the host's: of strangers, to other addresses, around what is for no VIP.
TEST_P(Nodes, OtherTunnelsAreTheKernels) {
  begin(of_two(kNode4, Handles::kThis));
  const Bytes first = fragments()[0].frame;
  Bytes cut = passed(first, kNode4, own(kNode4));
  cut.resize(kEthernet + 20 + 4 + 19);
  Bytes damaged = passed(first, kNode4, own(kNode4));
  damaged[kEthernet + 10] ^= 1;
  Bytes to_nobody = first;
  std::fill_n(to_nobody.begin() + kEthernet + (GetParam().ip == 4 ? 16 : 24), 4, uint8_t{9});
  for (const Bytes& frame :
       {passed(first, *Address::parse("10.77.0.3"), own(kNode4)),
        passed(first, kNode4, *Address::parse("10.77.0.9")), passed(to_nobody, kNode4, own(kNode4)),
        passed(first, kNode6, own(kNode6)), cut, damaged}) {
    const Result result = run(frame);
    EXPECT_EQ(result.way, Left::Way::kKernel);
    EXPECT_EQ(hex(result.bytes), hex(frame)) << "untouched";
  }
}

// Those that lie in several buffers are passed on, and taken off, as all others are.
TEST_P(Nodes, LongFragmentsToo) {
  const auto& cases = case_file().cases;
  const auto jumbo = std::ranges::find(cases, "jumbo_fragments" + family() + "_jumbo_ipip4", &Case::name);
  ASSERT_NE(jumbo, cases.end());
  for (const Address& node : {kNode4, kNode6}) {
    Configuration configuration = of_two(node, Handles::kOther);
    way_to_node(configuration).mtu = 9100;
    begin(configuration);
    for (const Step& step : jumbo->steps) {
      const Result result = run(step.frame);
      ASSERT_EQ(result.counter, LINIMO_OUTCOME_fragment_passed) << outcome_name(result.counter);
      const ByteView inner = *ip_packet(step.frame), outer = *ip_packet(result.bytes);
      EXPECT_TRUE(std::ranges::equal(outer.last(inner.size()), inner));
    }
    begin(of_two(node, Handles::kThis));
    for (const Step& step : jumbo->steps) {
      const Result result = run(passed(step.frame, node, own(node)));
      ASSERT_EQ(result.counter, LINIMO_OUTCOME_forwarded) << outcome_name(result.counter);
      EXPECT_EQ(result.bytes, step.possible.front().bytes);
    }
  }
}

// In a fleet whose node cannot be reached, or not by so long a packet, each does what it can.
TEST_P(Nodes, WithoutAWayToTheNodeFragmentsStay) {
  for (const bool resolved : {false, true}) {
    Configuration configuration = of_two(kNode4, Handles::kOther);
    NextHop& way = way_to_node(configuration);
    way.state = resolved ? NextHop::kResolved : NextHop::kUnresolved;
    way.mtu = resolved ? 50 : kEgressMtu;
    begin(configuration);
    for (const Step& step : fragments()) EXPECT_EQ(run(step.frame).counter, LINIMO_OUTCOME_forwarded);
  }
}

// The answer would go to the other node, and from there nowhere.
TEST_P(Nodes, WhatWasPassedOnIsNotAnswered) {
  const auto& cases = case_file().cases;
  const auto rejected = std::find_if(cases.begin(), cases.end(), [&](const Case& one) {
    return one.name == "reject_udp_first_fragment" + family();
  });
  ASSERT_NE(rejected, cases.end());
  begin(of_two(kNode4, Handles::kThis));
  const Bytes frame = rejected->steps.front().frame;
  EXPECT_EQ(run(frame).counter, LINIMO_OUTCOME_reject_reply);
  EXPECT_EQ(run(passed(frame, kNode4, own(kNode4))).counter, LINIMO_OUTCOME_no_backend);
}

TEST_P(Nodes, TellEachOtherOfDatagramsWhileHandlersMove) {
  begin(of_two(kNode4, Handles::kThis));
  run(fragments()[0].frame);
  EXPECT_TRUE(engine.words_to_tell(kStart_ms).empty()) << "all agree";
  Configuration moving = of_two(kNode4, Handles::kThis);
  moving.snapshot.handlers_move = true;
  begin(moving);
  const Result first = run(fragments()[0].frame);
  const std::vector<linimo_flow_word> words = engine.words_to_tell(kStart_ms);
  ASSERT_EQ(words.size(), 1U);
  EXPECT_EQ(words.front().datagram, 1);

  engine.forget_flows();
  EXPECT_EQ(run(fragments()[1].frame).way, Left::Way::kHeld) << "before it is told";
  engine.hear(words, kStart_ms + 20);
  EXPECT_EQ(engine.pass_time(kStart_ms + 30).size(), 1U);
  const Result later = run(fragments()[2].frame, 40);
  ASSERT_EQ(later.counter, LINIMO_OUTCOME_forwarded);
  EXPECT_TRUE(std::equal(later.bytes.begin(), later.bytes.begin() + 6, first.bytes.begin()));
  linimo_flow_word wild = words.front();
  wild.backend = ~0U;
  wild.service = 0xffff;
  engine.hear({&wild, 1}, kStart_ms + 50);
  engine.forget_flows();
}

INSTANTIATE_TEST_SUITE_P(Engines, Nodes, testing::ValuesIn(kTrackedBy), tracked_by);

}  // namespace
}  // namespace linimo::tests
