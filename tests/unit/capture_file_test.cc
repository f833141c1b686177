// What `linimo capture` writes, byte by byte, and what it and `linimo trace --live` say of a packet.

#include <gtest/gtest.h>

#include "controlplane/cli/capture.h"
#include "controlplane/cli/pcapng.h"
#include "controlplane/trace/capture_view.h"
#include "controlplane/trace/frame_text.h"
#include "maglev/abi.h"

namespace linimo {
namespace {

using nlohmann::json;

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text += static_cast<char>(value);
  return text;
}

TEST(Pcapng, Beginning) {
  EXPECT_EQ(bytes({0x0a, 0x0d, 0x0d, 0x0a, 40,   0,    0,    0,    0x4d, 0x3c, 0x2b, 0x1a, 1,   0,   0, 0,  //
                   0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 4,    0,    2,    0,    'x', 'y', 0, 0,
                   0,    0,    0,    0,    40,   0,    0,    0}),
            pcapng::beginning("xy"));
}

TEST(Pcapng, Interface) {
  EXPECT_EQ(bytes({1, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0,  16, 0, 0, 2, 0, 3, 0, 'e', '0', 'i', 0,  //
                   9, 0, 1, 0, 9,  0, 0, 0, 0, 0, 0, 0, 40, 0,  0, 0}),
            pcapng::interface("e0i", 4096));
}

TEST(Pcapng, Packet) {
  const uint8_t frame[] = {1, 2, 3, 4, 5};
  EXPECT_EQ(
      bytes({6,  0, 0, 0, 60,  0,   0,   0, 1, 0, 0, 0, 0x04, 0x03, 0x02, 0x01, 0x08, 0x07, 0x06, 0x05,  //
             5,  0, 0, 0, 60,  0,   0,   0, 1, 2, 3, 4, 5,    0,    0,    0,                             //
             1,  0, 3, 0, 'w', 'h', 'y', 0, 2, 0, 4, 0, 2,    0,    0,    0,    0,    0,    0,    0,
             60, 0, 0, 0}),
      pcapng::packet({.interface = 1,
                      .time_ns = 0x0102030405060708,
                      .length = 60,
                      .direction = pcapng::Direction::kOut,
                      .bytes = frame,
                      .comment = "why"}));
}

TEST(Pcapng, ACommentIsCutWhereItsLengthEnds) {
  const std::string comment(70'000, 'x');
  const uint8_t frame[] = {1};
  const std::string block = pcapng::packet({.length = 1, .bytes = frame, .comment = comment});
  EXPECT_EQ(0U, block.size() % 4);
  EXPECT_LT(block.size(), 66'000U);
}

linimo_captured a_packet() {
  linimo_captured captured{};
  captured.time_ns = 1'700'000'000'123'456'789;
  captured.outcome = LINIMO_OUTCOME_forwarded;
  captured.backend = 9;
  captured.service = 5;
  captured.in_length = 60;
  captured.in_kept = 4;
  captured.out_length = 80;
  captured.out_kept = 2;
  captured.out_port = 1;
  for (uint8_t i = 0; i < 6; ++i) captured.bytes[i] = static_cast<uint8_t>(0xa0 + i);
  return captured;
}

json view(const linimo_captured& captured) {
  IdNames names;
  names.add_service(5);
  names.add_backend(9);
  const std::string interfaces[] = {"eth0", "eth1"};
  return captured_view(captured, interfaces, names);
}

TEST(CapturedView, Forwarded) {
  const json packet = view(a_packet());
  EXPECT_EQ("forwarded: the packet goes to the backend; backend backend 9, IPIP", packet["comment"]);
  EXPECT_EQ((json{{"interface", "eth0"}, {"length", 60}, {"bytes", "a0a1a2a3"}}), packet["in"]);
  EXPECT_EQ((json{{"interface", "eth1"}, {"length", 80}, {"bytes", "a4a5"}}), packet["out"]);
  EXPECT_EQ("service 5", packet["service"]);
}

TEST(CapturedView, WithoutABackend) {
  linimo_captured captured = a_packet();
  captured.outcome = LINIMO_OUTCOME_no_service;
  captured.backend = captured.service = captured.encapsulation = LINIMO_CAPTURE_NONE;
  captured.out_length = captured.out_kept = 0;
  const json packet = view(captured);
  EXPECT_EQ("no_service: the packet is dropped: the VIP has no service of that protocol and port",
            packet["comment"]);
  EXPECT_TRUE(packet["out"].is_null() && packet["backend"].is_null() && packet["service"].is_null());
}

TEST(CapturedView, NoOutcomeThatItDoesNotKnow) {
  linimo_captured captured = a_packet();
  captured.outcome = ~0U;
  captured.encapsulation = ~0U;
  captured.in_port = captured.out_port = 200;
  EXPECT_EQ("held", view(captured)["outcome"]);
  EXPECT_EQ("interface 200", view(captured)["in"]["interface"]);
}

TEST(CaptureFile, NamesEachInterfaceOnce) {
  CaptureFile file;
  const json packet = view(a_packet());
  const std::string first = file.add(packet), second = file.add(packet);
  const std::string in = pcapng::interface("eth0 in", LINIMO_CAPTURE_SNAP),
                    out = pcapng::interface("eth1 out", LINIMO_CAPTURE_SNAP);
  EXPECT_TRUE(first.starts_with(in));
  EXPECT_NE(std::string::npos, first.find(out));
  EXPECT_EQ(first.size(), second.size() + in.size() + out.size());
  EXPECT_NE(std::string::npos, second.find(packet["comment"].get<std::string>()));
}

TEST(FrameText, WhatIsInIt) {
  std::vector<uint8_t> frame(14 + 20 + 20);
  EXPECT_EQ("a frame of 54 bytes", frame_text(frame, 54));
  frame[12] = 8;
  frame[14] = 0x45;
  frame[17] = 40;
  frame[23] = 6;
  frame[26] = frame[30] = 10;
  frame[34] = 1;
  frame[37] = 80;
  frame[47] = 0x12;
  EXPECT_EQ("tcp 10.0.0.0:256 -> 10.0.0.0:80, 40 bytes, flags SA", frame_text(frame, 54));
  EXPECT_EQ("tcp 10.0.0.0:256 -> 10.0.0.0:80, 40 bytes", frame_text(std::span(frame).first(40), 54));
  EXPECT_EQ("tcp 10.0.0.0 -> 10.0.0.0, 40 bytes", frame_text(std::span(frame).first(36), 54));
  EXPECT_EQ("a frame of 54 bytes", frame_text(std::span(frame).first(33), 54));
  EXPECT_EQ("a frame of 54 bytes", frame_text({}, 54));
  frame[21] = 1;  // of a fragment offset
  EXPECT_EQ("tcp 10.0.0.0 -> 10.0.0.0, 40 bytes, a later fragment", frame_text(frame, 54));
  const uint8_t tag[] = {0x81, 0, 0, 7};
  frame[21] = 0;
  frame.insert(frame.begin() + 12, std::begin(tag), std::end(tag));
  EXPECT_EQ("tcp 10.0.0.0:256 -> 10.0.0.0:80, 40 bytes, flags SA", frame_text(frame, 58));
}

TEST(CaptureQuery, SaysWhatIsWrong) {
  EXPECT_TRUE(capture_query("filter=0006000000040000"));
  EXPECT_EQ(0x40000U, capture_query("filter=0006000000040000")->filter[0].k);
  for (const auto& [query, says] : std::initializer_list<std::pair<const char*, const char*>>{
           {"", "say which packets"},
           {"filter=", "filter is a program"},
           {"filter=00060000000400", "filter is a program"},
           {"filter=-006000000040000", "filter is a program"},
           {"filter=0006000000040000&snap=4097", "snap is a number from 1 to 4096"},
           {"filter=0006000000040000&rate=9", "rate is a number from 10 to 10000"},
           {"filter=0006000000040000&count=1", "there is no parameter count"}}) {
    const auto asked = capture_query(query);
    ASSERT_FALSE(asked) << query;
    EXPECT_NE(std::string::npos, asked.error().find(says)) << query << ": " << asked.error();
  }
}

TEST(CapturePath, AMistakeInTheFilterIsNamed) {
  EXPECT_NE(std::string::npos,
            capture_path("tcp prot 80", 0, 1000).error().find("\"tcp prot 80\" is no filter"));
  std::string hosts = "host 10.0.0.1";
  for (int i = 2; i < 100; ++i) hosts += " or host 10.0.0." + std::to_string(i);
  EXPECT_NE(std::string::npos, capture_path(hosts, 0, 1000).error().find("too long"));
}

TEST(PacketLine, SaysWhatBecameOfIt) {
  setenv("TZ", "UTC", 1);
  EXPECT_EQ("22:13:20.123456 a frame of 60 bytes: forwarded, backend 9, IPIP", packet_line(view(a_packet())));
}

}  // namespace
}  // namespace linimo
