// The rules that both engines obey (maglev/rules): their numbers, each by its name, and what no packet of the
// packet suite can tell. Whoever changes one of them changes both engines, and has to say so here.

#include <array>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "maglev/rules/adaptive.h"
#include "maglev/rules/address.h"
#include "maglev/rules/capture.h"
#include "maglev/rules/choice.h"
#include "maglev/rules/control.h"
#include "maglev/rules/flow_entry.h"
#include "maglev/rules/fragment.h"
#include "maglev/rules/ipv6_extensions.h"
#include "maglev/rules/martian.h"
#include "maglev/rules/next_hop.h"
#include "maglev/rules/quic.h"
#include "maglev/rules/reply.h"
#include "maglev/rules/reply_limit.h"
#include "maglev/rules/schedule.h"
#include "maglev/rules/sharing.h"
#include "maglev/rules/tunnel.h"

namespace linimo {
namespace {

constexpr uint64_t kHash = 0x123456789abcdef0;

uint64_t entry(uint32_t service, uint32_t backend, uint32_t now) {
  return linimo_flow_made(linimo_flow_places_of(kHash, service, 1024).flow, backend, now);
}

// Who stamps an entry may have read the clock a moment later than who looks at it.
TEST(FlowEntry, TheNewestIsNotTakenForTheOldest) {
  const uint64_t word = linimo_flow_made(0, 1, 5000);
  for (const uint32_t now : {4998U, 4999U, 5000U}) {
    EXPECT_EQ(linimo_flow_age_seen(word, now), 0U);
    EXPECT_FALSE(linimo_flow_is_over_seen(word, 900, now, LINIMO_SECONDS));
  }
  EXPECT_TRUE(linimo_flow_is_over(word, 900, 4999, LINIMO_SECONDS)) << "by its own clock no time goes back";
  EXPECT_FALSE(linimo_flow_is_over_seen(word, 900, 5900, LINIMO_SECONDS));
  EXPECT_TRUE(linimo_flow_is_over_seen(word, 900, 5901, LINIMO_SECONDS));
  EXPECT_TRUE(linimo_flow_is_over_seen(word, 0, 5000, LINIMO_SECONDS));
}

TEST(FlowEntry, HasAPlaceForAllThatItSays) {
  const uint64_t word = entry(LINIMO_MAX_SERVICES - 1, LINIMO_MAX_BACKEND_IDS - 1, 4095);
  EXPECT_EQ(linimo_flow_service(word), LINIMO_MAX_SERVICES - 1);
  EXPECT_EQ(linimo_flow_backend(word), LINIMO_MAX_BACKEND_IDS - 1);
  EXPECT_EQ(linimo_flow_age(word, 4095 + 7), 7U);
  EXPECT_EQ(linimo_flow_state(word), LINIMO_FLOW_EMBRYONIC);
  EXPECT_TRUE(linimo_flow_matches(word, linimo_flow_places_of(kHash, LINIMO_MAX_SERVICES - 1, 1024).flow));
  EXPECT_FALSE(linimo_flow_matches(word, linimo_flow_places_of(kHash, 1, 1024).flow));
  const uint64_t moved = linimo_flow_with_backend(word, 5);
  EXPECT_EQ(linimo_flow_backend(moved), 5U);
  EXPECT_EQ(linimo_flow_service(moved), LINIMO_MAX_SERVICES - 1);
  EXPECT_EQ(linimo_flow_age(linimo_flow_aged(word, 9), 4095), 9U);
}

TEST(FlowEntry, OfAClosedConnectionLivesForSixtySecondsByBothClocks) {
  EXPECT_EQ(LINIMO_FLOW_CLOSING_S, 60U);
  const uint64_t closing = linimo_flow_touched(entry(1, 1, 100), true, false, 100);
  EXPECT_FALSE(linimo_flow_is_expired(closing, 900, 100 + 60, LINIMO_SECONDS));
  EXPECT_TRUE(linimo_flow_is_expired(closing, 900, 100 + 61, LINIMO_SECONDS));
  EXPECT_FALSE(linimo_flow_is_expired(closing, 900, 100 + 56, LINIMO_TICKS)) << "56 ticks: 60.1 s";
  EXPECT_TRUE(linimo_flow_is_expired(closing, 900, 100 + 57, LINIMO_TICKS));
  EXPECT_TRUE(linimo_flow_is_expired(closing, 30, 100 + 31, LINIMO_SECONDS)) << "a shorter timeout counts";
}

TEST(FlowEntry, IsYoungForThreeSecondsByBothClocks) {
  EXPECT_EQ(LINIMO_FLOW_YOUNG_S, 3U);
  const uint64_t word = entry(1, 1, 100);
  for (const linimo_clock clock : {LINIMO_SECONDS, LINIMO_TICKS}) {
    EXPECT_EQ(linimo_flow_victim_of(word, 1, 900, 102, clock), LINIMO_FLOW_VICTIM_NONE);
    EXPECT_EQ(linimo_flow_victim_of(word, 1, 900, 103, clock), LINIMO_FLOW_VICTIM_OWN);
    EXPECT_EQ(linimo_flow_victim_of(word, 2, 900, 103, clock), LINIMO_FLOW_VICTIM_OTHERS);
    EXPECT_EQ(linimo_flow_victim_of(word, 1, 1, 102, clock), LINIMO_FLOW_VICTIM_EXPIRED);
    EXPECT_FALSE(linimo_flow_may_have_ended(word, 102, clock));
    EXPECT_TRUE(linimo_flow_may_have_ended(word, 103, clock));
  }
}

TEST(FlowEntry, RanksByKindThenEmbryonicThenAge) {
  const uint64_t embryonic = entry(1, 1, 100);
  const uint64_t established = linimo_flow_touched(entry(1, 1, 90), false, false, 100);
  EXPECT_EQ(linimo_flow_state(established), LINIMO_FLOW_ESTABLISHED);
  const auto rank = [](uint64_t word, linimo_flow_victim victim) {
    return linimo_flow_rank(word, victim, 110);
  };
  EXPECT_LT(rank(established, LINIMO_FLOW_VICTIM_EXPIRED), rank(embryonic, LINIMO_FLOW_VICTIM_OWN));
  EXPECT_LT(rank(embryonic, LINIMO_FLOW_VICTIM_OWN), rank(established, LINIMO_FLOW_VICTIM_OWN));
  EXPECT_LT(rank(entry(1, 1, 99), LINIMO_FLOW_VICTIM_OWN), rank(embryonic, LINIMO_FLOW_VICTIM_OWN));
  EXPECT_LT(rank(established, LINIMO_FLOW_VICTIM_OTHERS), LINIMO_FLOW_RANK_NONE);
  EXPECT_GE(rank(embryonic, LINIMO_FLOW_VICTIM_NONE), LINIMO_FLOW_RANK_NONE);
  EXPECT_TRUE(linimo_flow_withstands_flood(rank(established, LINIMO_FLOW_VICTIM_OWN)));
  EXPECT_FALSE(linimo_flow_withstands_flood(rank(embryonic, LINIMO_FLOW_VICTIM_OWN)));
  EXPECT_FALSE(linimo_flow_withstands_flood(rank(established, LINIMO_FLOW_VICTIM_EXPIRED)));
  EXPECT_EQ(rank(embryonic, LINIMO_FLOW_VICTIM_OWN) & 0xff, 0U) << "room for where it lies";
}

TEST(FlowEntry, CountsAsAConnectionOfItsBackendUntilItsFin) {
  const uint64_t embryonic = entry(1, 5, 100);
  const uint64_t established = linimo_flow_touched(embryonic, false, false, 101);
  const uint64_t closing = linimo_flow_touched(established, true, false, 101);
  const auto leaves_and_joins = [](uint64_t before, uint64_t after) {
    return std::pair(linimo_flow_leaves(before, after) != 0, linimo_flow_joins(before, after) != 0);
  };
  constexpr std::pair kNeither(false, false), kLeaves(true, false), kJoins(false, true), kBoth(true, true);
  EXPECT_EQ(leaves_and_joins(0, embryonic), kJoins);
  EXPECT_EQ(leaves_and_joins(embryonic, established), kNeither);
  EXPECT_EQ(leaves_and_joins(established, closing), kLeaves);
  EXPECT_EQ(leaves_and_joins(closing, linimo_flow_touched(closing, false, true, 102)), kJoins);
  EXPECT_EQ(leaves_and_joins(closing, 0), kNeither);
  EXPECT_EQ(leaves_and_joins(established, 0), kLeaves);
  EXPECT_EQ(leaves_and_joins(established, linimo_flow_with_backend(established, 6)), kBoth);
  EXPECT_EQ(leaves_and_joins(closing, linimo_flow_with_backend(closing, 6)), kNeither);
  EXPECT_EQ(leaves_and_joins(closing, entry(2, 6, 102)), kJoins);
  EXPECT_EQ(leaves_and_joins(established, entry(2, 5, 102)), kNeither) << "another flow, the same backend";
}

TEST(FlowEntry, TablesAreTwoThirdsFull) {
  EXPECT_EQ(linimo_flow_buckets(1), 8U);
  EXPECT_EQ(linimo_flow_buckets(1 << 20), (1U << 20) * 3 / 2 / 8);
}

TEST(FragmentEntry, LivesForTwoSecondsAndAUnit) {
  EXPECT_EQ(LINIMO_FRAGMENT_LIFE_MS, 2000U);
  constexpr uint64_t kNow_ns = 5'000'000'000'000, kUnit_ns = 1U << LINIMO_FRAGMENT_UNIT_SHIFT;
  const uint64_t word =
      linimo_fragment_word(kHash, LINIMO_MAX_BACKEND_IDS - 1, LINIMO_MAX_SERVICES - 1, kNow_ns);
  EXPECT_EQ(linimo_fragment_backend(word), LINIMO_MAX_BACKEND_IDS - 1);
  EXPECT_EQ(linimo_fragment_service(word), LINIMO_MAX_SERVICES - 1);
  EXPECT_TRUE(linimo_fragment_matches(word, kHash));
  EXPECT_FALSE(linimo_fragment_is_over(word, kNow_ns + 2'000'000'000));
  EXPECT_TRUE(linimo_fragment_is_over(word, kNow_ns + 2'000'000'000 + 2 * kUnit_ns));
  EXPECT_FALSE(linimo_fragment_is_over(word, kNow_ns - 1'000'000'000)) << "another worker's clock";
  EXPECT_TRUE(linimo_fragment_is_over(0, kNow_ns)) << "nothing was written";
  EXPECT_TRUE(linimo_fragment_is_over(linimo_fragment_aged(word, 2 + 2'000'000'000 / kUnit_ns), kNow_ns));
}

TEST(Martian, IsSaidByTheFirstByteOfIpv4) {
  std::set<uint32_t> wanted{0, 127};
  for (uint32_t first = 224; first < 256; ++first) wanted.insert(first);
  for (uint32_t first = 0; first < 256; ++first)
    EXPECT_EQ(linimo_is_martian4(first | 0x01020300) != 0, wanted.contains(first)) << first;
}

TEST(Martian, OfIpv6) {
  const auto low = [](uint64_t host_order) { return __builtin_bswap64(host_order); };
  const struct {
    uint64_t high, low;
    bool martian;
  } cases[] = {{0, 0, true},    {0, low(1), true},      {0, low(2), false}, {0, low(0xffff'01020304), true},
               {0xff, 1, true}, {0x02ff, low(1), true}, {1, 0, false},      {0, low(0xfffe'01020304), false}};
  for (const auto& one : cases) {
    EXPECT_EQ(linimo_is_martian6(one.high, one.low) != 0, one.martian) << one.high << " " << one.low;
    EXPECT_TRUE(!one.martian || linimo_may_be_martian6(one.high)) << one.high;
  }
}

/// Walks a chain of eight-byte headers; 0: not sound.
linimo_verdict walk(uint8_t first, const std::vector<uint64_t>& headers, linimo_extensions& chain) {
  chain = linimo_extensions_begin(first);
  const auto end = static_cast<uint32_t>(LINIMO_IPV6_HEADER + 8 * headers.size());
  uint32_t rounds = 0;
  while (linimo_has_extension(&chain)) {
    EXPECT_LT(rounds++, uint32_t{LINIMO_EXTENSION_ROUNDS});
    const uint32_t at = (chain.offset - LINIMO_IPV6_HEADER) / 8;
    if (at >= headers.size() || !linimo_pass_extension(&chain, headers[at], end))
      return LINIMO_VERDICT_MALFORMED;
  }
  return chain.fragment == LINIMO_LATER_FRAGMENT ? linimo_judge_later_fragment6(chain.next)
                                                 : linimo_judge_protocol(1, chain.next, LINIMO_WHOLE);
}

TEST(Ipv6Extensions, SixMayStandBeforeTheTransportHeaderBesideAFragmentHeader) {
  linimo_extensions chain;
  const auto to = [](linimo_protocol next) { return uint64_t{static_cast<uint8_t>(next)}; };
  std::vector<uint64_t> headers(5, to(LINIMO_DESTINATION_OPTIONS));
  headers.push_back(to(LINIMO_TCP));
  EXPECT_EQ(walk(LINIMO_HOP_BY_HOP, headers, chain), LINIMO_VERDICT_FLOW);
  EXPECT_EQ(chain.offset, LINIMO_IPV6_HEADER + 6 * 8);
  headers.back() = to(LINIMO_FRAGMENT);
  headers.push_back(to(LINIMO_TCP) | uint64_t{LINIMO_SWAP16(1)} << 16 | uint64_t{4711} << 32);
  EXPECT_EQ(walk(LINIMO_HOP_BY_HOP, headers, chain), LINIMO_VERDICT_FLOW);
  EXPECT_EQ(chain.fragment, LINIMO_FIRST_FRAGMENT);
  EXPECT_EQ(chain.id, 4711U);
  headers.back() = to(LINIMO_FRAGMENT);
  headers.push_back(to(LINIMO_TCP));
  EXPECT_EQ(walk(LINIMO_HOP_BY_HOP, headers, chain), LINIMO_VERDICT_MALFORMED) << "two Fragment headers";
  EXPECT_EQ(walk(LINIMO_HOP_BY_HOP, std::vector<uint64_t>(7, to(LINIMO_HOP_BY_HOP)), chain),
            LINIMO_VERDICT_MALFORMED)
      << "seven";
}

TEST(Ipv6Extensions, NothingIsReadBehindALaterFragmentsHeader) {
  linimo_extensions chain;
  const uint64_t later = uint64_t{LINIMO_SWAP16(8)} << 16;
  EXPECT_EQ(walk(LINIMO_FRAGMENT, {later | LINIMO_ROUTING}, chain), LINIMO_VERDICT_LATER_FRAGMENT);
  EXPECT_EQ(walk(LINIMO_FRAGMENT, {later | LINIMO_ICMPV6}, chain), LINIMO_VERDICT_ICMP);
  EXPECT_EQ(walk(LINIMO_FRAGMENT, {later | LINIMO_GRE}, chain), LINIMO_VERDICT_OTHER);
}

TEST(Ipv6Extensions, ARouteWithSegmentsLeftIsNotDone) {
  linimo_extensions chain;
  walk(LINIMO_ROUTING, {uint64_t{LINIMO_UDP} | uint64_t{1} << 24}, chain);
  EXPECT_TRUE(chain.on_its_way);
  walk(LINIMO_ROUTING, {uint64_t{LINIMO_UDP}}, chain);
  EXPECT_FALSE(chain.on_its_way);
}

TEST(Checksum, FoldsLikeTheDefinition) {
  std::mt19937_64 random{7};
  const auto defined = [](uint64_t sum) {
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(sum);
  };
  for (const uint64_t sum :
       {uint64_t{0}, uint64_t{0xffff}, uint64_t{0x10000}, uint64_t{0xffffffff}, ~uint64_t{0}})
    EXPECT_EQ(linimo_checksum_fold(sum), defined(sum)) << sum;
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t sum = random() >> random() % 48;
    ASSERT_EQ(linimo_checksum_fold(sum), defined(sum)) << sum;
  }
}

TEST(Choice, FollowsAnEntryUnlessItsBackendIsGoneAnotherIsNamedOrItDrainsAndHasEnded) {
  const auto use = [](bool usable, bool another, bool begins, bool takes_new, bool ended) {
    return linimo_use_of_entry(usable, another, begins, takes_new, ended);
  };
  EXPECT_EQ(use(true, false, false, true, false), LINIMO_ENTRY_FOLLOWED);
  EXPECT_EQ(use(true, false, true, true, true), LINIMO_ENTRY_FOLLOWED);
  EXPECT_EQ(use(true, false, true, false, false), LINIMO_ENTRY_FOLLOWED);
  EXPECT_EQ(use(true, false, false, false, true), LINIMO_ENTRY_FOLLOWED);
  EXPECT_EQ(use(true, false, true, false, true), LINIMO_ENTRY_ENDED);
  EXPECT_EQ(use(false, false, true, false, true), LINIMO_ENTRY_REDIRECTED);
  EXPECT_EQ(use(true, true, false, true, false), LINIMO_ENTRY_REDIRECTED);
  EXPECT_FALSE(linimo_leaves_a_trace(LINIMO_RST | LINIMO_ACK));
}

TEST(Adaptive, ASlotSettlesOnceItLearnsNoMoreAndWasSilentForTheWindow) {
  const linimo_learning learning{.until = 5, .base = 7, .reserved = 0};
  EXPECT_EQ(linimo_base_of(&learning, 4), 7);
  EXPECT_EQ(linimo_base_of(&learning, 5), LINIMO_NO_BACKEND);
  EXPECT_EQ(linimo_base_of(&learning, ~0U), 7) << "the clock wraps";
  EXPECT_FALSE(linimo_slot_settles(&learning, 0, 900, 900));
  EXPECT_TRUE(linimo_slot_settles(&learning, 0, 900, 901));
  EXPECT_FALSE(linimo_slot_settles(&learning, ~0U - 2000, 900, 4));
}

TEST(Adaptive, WhatGoesElsewhereThanToTheSlotsBackendDeviatesUnlessItNamesItsOwn) {
  EXPECT_TRUE(linimo_tells_of_slot(true, false));
  EXPECT_FALSE(linimo_tells_of_slot(true, true));
  EXPECT_FALSE(linimo_tells_of_slot(false, false));
  EXPECT_FALSE(linimo_deviates(3, 3));
  EXPECT_TRUE(linimo_deviates(3, 4));
  EXPECT_TRUE(linimo_deviates(3, LINIMO_NO_BACKEND)) << "the slot has no backend now";
}

TEST(Sharing, TellsOfWhatAStrangerWouldSendElsewhereNowOrWhenTheBaseCeasesToCount) {
  constexpr uint32_t kNone = 0, kBase = 1, kCurrent = 2, kThird = 3, kIdle_s = 900;
  const auto told = [](uint32_t goes, uint32_t base, int32_t base_left) {
    return linimo_is_to_be_told(goes, kCurrent, base, kNone, base_left, kIdle_s) != 0;
  };
  EXPECT_FALSE(told(kBase, kBase, 300));
  EXPECT_TRUE(told(kBase, kBase, 299)) << "soon strangers follow the table";
  EXPECT_TRUE(told(kCurrent, kBase, 899)) << "strangers ask the base";
  EXPECT_TRUE(told(kThird, kBase, 899));
  EXPECT_FALSE(told(kCurrent, kNone, 0));
  EXPECT_TRUE(told(kBase, kNone, 0));
  EXPECT_FALSE(told(kCurrent, kCurrent, 100)) << "a slot that is back where it was";
  EXPECT_TRUE(told(kBase, kCurrent, 100));
  EXPECT_EQ(linimo_told_for(kIdle_s), 1200U);
}

TEST(Sharing, AFlowIsToldOfOnceAThirdOfItsIdleTimeoutAndWhenItHasEnded) {
  constexpr uint32_t kIdle_s = 900, kGoes = 1;
  const uint64_t told = entry(3, kGoes, 5000);
  const auto said = [&](uint64_t word, int ends, int wanted, uint32_t goes, uint32_t now) {
    return linimo_word_of(word, ends, wanted, goes, kIdle_s, now);
  };
  EXPECT_EQ(said(0, 0, 1, kGoes, 5000), LINIMO_WORD_GOES);
  EXPECT_EQ(said(0, 0, 0, kGoes, 5000), LINIMO_WORD_NONE);
  EXPECT_EQ(said(told, 0, 1, kGoes, 5299), LINIMO_WORD_NONE);
  EXPECT_EQ(said(told, 0, 1, kGoes, 5300), LINIMO_WORD_GOES);
  EXPECT_EQ(said(told, 0, 1, kGoes, 4999), LINIMO_WORD_NONE) << "by a clock that is behind";
  EXPECT_EQ(said(told, 0, 1, kGoes + 1, 5000), LINIMO_WORD_GOES) << "it was moved";
  EXPECT_EQ(said(told, 1, 0, kGoes, 5000), LINIMO_WORD_ENDED);
  EXPECT_EQ(said(0, 1, 1, kGoes, 5000), LINIMO_WORD_NONE) << "nobody was told";
  EXPECT_EQ(said(linimo_flow_touched(told, 1, 0, 5001), 1, 0, kGoes, 5002), LINIMO_WORD_NONE)
      << "that is known";
  EXPECT_EQ(linimo_told_again_after(1), 1U);
  EXPECT_EQ(linimo_told_for(LINIMO_MAX_IDLE_TIMEOUT_S), LINIMO_MAX_IDLE_TIMEOUT_S);
}

TEST(Schedule, PlacesOfTurnsAreEvenAndConnectionsCountByWeight) {
  EXPECT_EQ(linimo_place_of_turn(0, 100), 0U);
  EXPECT_EQ(linimo_place_of_turn(1, 1000), 618U) << "1 / phi";
  EXPECT_EQ(linimo_part_of(uint64_t{1} << 63, 10), 5U);
  EXPECT_TRUE(linimo_takes_second(2, 1, 3, 2));
  EXPECT_FALSE(linimo_takes_second(2, 1, 4, 2)) << "of equals the first";
  EXPECT_EQ(LINIMO_DRAWS, 16);
}

TEST(Quic, OnlyTheServersChoiceOfAnIdCounts) {
  for (const uint32_t version : {1U, 0xff00001dU}) {
    EXPECT_FALSE(linimo_quic_server_chose_id(0xc0, version)) << "Initial";
    EXPECT_FALSE(linimo_quic_server_chose_id(0xd0, version)) << "0-RTT";
    EXPECT_TRUE(linimo_quic_server_chose_id(0xe0, version));
  }
  EXPECT_TRUE(linimo_quic_server_chose_id(0xc0, 0x6b3343cf)) << "Retry of version 2";
  EXPECT_FALSE(linimo_quic_server_chose_id(0xd0, 0x6b3343cf));
  EXPECT_FALSE(linimo_quic_server_chose_id(0xe0, 0));
  EXPECT_EQ(linimo_quic_id_at(0x40, 9, 8), 1U);
  EXPECT_EQ(linimo_quic_id_at(0x40, 8, 8), 0U) << "cut short";
  EXPECT_EQ(linimo_quic_server_id(0x0201, 2), 0x0102U);
}

TEST(Tunnel, HeadersAreAsLongAsTheirFamilyAndKindSay) {
  const struct {
    uint8_t kind, overhead4, overhead6, protocol4, protocol6;
  } cases[] = {{LINIMO_ENCAP_IPIP, 20, 40, 4, 41},
               {LINIMO_ENCAP_GRE, 24, 44, 47, 47},
               {LINIMO_ENCAP_GUE, 28, 48, 17, 17}};
  for (const auto& one : cases) {
    EXPECT_EQ(linimo_tunnel_overhead(one.kind, 0), one.overhead4);
    EXPECT_EQ(linimo_tunnel_overhead(one.kind, 1), one.overhead6);
    EXPECT_EQ(linimo_tunnel_protocol(one.kind, 0), one.protocol4);
    EXPECT_EQ(linimo_tunnel_protocol(one.kind, 1), one.protocol6);
  }
  EXPECT_EQ(linimo_open_bits(128), 0U);
  EXPECT_EQ(linimo_open_bits(112), 0xffffU);
  EXPECT_EQ(linimo_open_bits(64), ~uint64_t{0});
}

TEST(Reply, SaysTheLeastMtuWhereTheTunnelLeavesLess) {
  EXPECT_EQ(linimo_told_mtu(0, 1500, 20), 1480U);
  EXPECT_EQ(linimo_told_mtu(0, 10, 20), 68U);
  EXPECT_EQ(linimo_told_mtu(1, 1280, 40), 1280U);
  EXPECT_EQ(linimo_quoted_length(0, 1500), 576U - 28);
  EXPECT_EQ(linimo_quoted_length(1, 1500), 1280U - 48);
  EXPECT_TRUE(linimo_leaves_in_fragments(1, 1280));
  EXPECT_FALSE(linimo_leaves_in_fragments(1, 1281));
  EXPECT_FALSE(linimo_leaves_in_fragments(0, 1280));
}

TEST(ReplyLimit, ASecondsWorthAndAQuarterOfItForThoseWithinTheirShare) {
  linimo_reply_limit limit{};
  constexpr uint64_t kNow = 1'000'000'000'000;
  uint32_t given = 0;
  for (int i = 0; i < 1000; ++i) given += linimo_may_reply(&limit, 64, 3, kNow) != 0;
  EXPECT_EQ(given, 48U) << "one source";
  for (uint32_t place = 4; place < 256; ++place) given += linimo_may_reply(&limit, 64, place, kNow) != 0;
  EXPECT_EQ(given, 64U);
}

TEST(NextHop, HasAnOutcomeForEveryState) {
  const auto outcome = [](linimo_next_hop_state state) {
    return linimo_next_hop_outcome(linimo_next_hop_state_of(uint64_t{state} << LINIMO_NEXT_HOP_STATE_SHIFT));
  };
  EXPECT_EQ(outcome(LINIMO_NEXT_HOP_RESOLVED), LINIMO_OUTCOME_forwarded);
  EXPECT_EQ(outcome(LINIMO_NEXT_HOP_NO_ROUTE), LINIMO_OUTCOME_no_route);
  EXPECT_EQ(outcome(LINIMO_NEXT_HOP_UNRESOLVED), LINIMO_OUTCOME_no_nexthop);
  EXPECT_EQ(outcome(LINIMO_NEXT_HOP_WRONG_EGRESS), LINIMO_OUTCOME_wrong_egress);
  EXPECT_EQ(linimo_tags_length(0), 0U);
  EXPECT_EQ(linimo_tags_length(0x0081), 4U);
  EXPECT_EQ(linimo_tags_length(uint64_t{0x0081} << 32 | 0xa888), 8U);
}

TEST(Control, IsArpLldpNeighboursBgpAndBfd) {
  EXPECT_TRUE(linimo_is_control_type(LINIMO_TYPE_ARP));
  EXPECT_FALSE(linimo_is_control_type(LINIMO_TYPE_IPV4));
  const auto ports = [](uint16_t from, uint16_t to) {
    return uint32_t{LINIMO_SWAP16(from)} | uint32_t{LINIMO_SWAP16(to)} << 16;
  };
  EXPECT_TRUE(linimo_is_control(LINIMO_TCP, ports(179, 40000)));
  EXPECT_TRUE(linimo_is_control(LINIMO_TCP, ports(40000, 179)));
  EXPECT_FALSE(linimo_is_control(LINIMO_UDP, ports(179, 179)));
  for (const uint16_t port : {3784, 3785, 4784, 6784})
    EXPECT_TRUE(linimo_is_control(LINIMO_UDP, ports(1, port)));
  EXPECT_TRUE(linimo_is_control(LINIMO_ICMPV6, 135));
  EXPECT_FALSE(linimo_is_control(LINIMO_ICMPV6, 128));
}

TEST(Capture, SoManyATenthOfASecond) {
  constexpr uint64_t kTenth = 100'000'000;
  linimo_capture_rate rate{};
  const auto taken_at = [&rate](uint64_t now) {
    int taken = 0;
    for (int i = 0; i < 1000; ++i) taken += linimo_capture_admits(&rate, 1000, now);
    return taken;
  };
  EXPECT_EQ(taken_at(kTenth), 100);
  EXPECT_EQ(taken_at(2 * kTenth - 1), 0);
  EXPECT_EQ(taken_at(2 * kTenth), 100);
  EXPECT_EQ(taken_at(9 * kTenth), 100);  // what was not used is not saved up
}

}  // namespace
}  // namespace linimo
