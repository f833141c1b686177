// Which packets a capture wants: what is no filter is refused, whoever sends it; what is one means the same
// to the worker, which runs it as it is, and to the kernel, which gets it translated.

#include <array>
#include <cstring>
#include <memory>
#include <random>

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/filter.h>

#include "controlplane/cli/capture.h"
#include "controlplane/trace/capture_view.h"
#include "dataplane/capture/filter.h"
#include "dataplane/xdp/filter_program.h"

namespace linimo {
namespace {

using protocol::FilterStep;
using Steps = std::vector<FilterStep>;
using Frame = std::vector<uint8_t>;

constexpr FilterStep kTake{BPF_RET | BPF_K, 0, 0, 1}, kLeave{BPF_RET | BPF_K, 0, 0, 0};

std::string refusal(const Steps& steps) {
  const auto filter = Filter::of(steps);
  return filter ? "" : filter.error();
}

/// As the program linimo compiles it and the control plane passes it on.
Steps compiled(const std::string& text) {
  const auto path = capture_path(text, 0, 1000);
  if (!path) throw std::runtime_error(path.error());
  const auto question = capture_query(path->substr(path->find('?') + 1));
  if (!question) throw std::runtime_error(question.error());
  return {question->filter, question->filter + question->steps};
}

TEST(CaptureFilter, HostileProgramsAreRefused) {
  EXPECT_EQ("a filter has 1 to 256 steps, this one 0", refusal({}));
  EXPECT_EQ("a filter has 1 to 256 steps, this one 257", refusal(Steps(257, kTake)));
  EXPECT_EQ("", refusal(Steps(256, kTake)));
  EXPECT_EQ("step 0 of the filter is the last and does not return", refusal({{BPF_LD | BPF_IMM, 0, 0, 1}}));
  // Jumps: to the step behind the last, and back, which is a jump over 2^32.
  EXPECT_EQ("step 0 of the filter jumps out of it", refusal({{BPF_JMP | BPF_JA, 0, 0, 1}, kTake}));
  EXPECT_EQ("step 1 of the filter jumps out of it", refusal({kTake, {BPF_JMP | BPF_JA, 0, 0, ~1U}, kTake}));
  EXPECT_EQ("step 0 of the filter jumps out of it", refusal({{BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0}, kTake}));
  EXPECT_EQ("step 0 of the filter jumps out of it", refusal({{BPF_JMP | BPF_JSET | BPF_X, 0, 1, 0}, kTake}));
  EXPECT_EQ("", refusal({{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0}, kTake, kLeave}));
  // Loads: the kernel's own extensions are at negative offsets.
  EXPECT_EQ("step 0 of the filter reads beyond any frame",
            refusal({{BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<uint32_t>(SKF_AD_OFF)}, kTake}));
  EXPECT_EQ("step 0 of the filter reads beyond any frame",
            refusal({{BPF_LDX | BPF_B | BPF_MSH, 0, 0, 65536}, kTake}));
  EXPECT_EQ("step 0 of the filter has no such memory", refusal({{BPF_ST, 0, 0, 16}, kTake}));
  EXPECT_EQ("step 0 of the filter has no such memory", refusal({{BPF_LD | BPF_MEM, 0, 0, 16}, kTake}));
  EXPECT_EQ("step 0 of the filter divides by zero", refusal({{BPF_ALU | BPF_DIV | BPF_K, 0, 0, 0}, kTake}));
  EXPECT_EQ("step 0 of the filter shifts by more bits than there are",
            refusal({{BPF_ALU | BPF_LSH | BPF_K, 0, 0, 32}, kTake}));
  EXPECT_EQ("step 0 of the filter is no step of classic BPF", refusal({{0xffff, 0, 0, 0}, kTake}));
}

TEST(CaptureFilter, MemoryIsWrittenBeforeItIsRead) {
  const FilterStep read{BPF_LD | BPF_MEM, 0, 0, 3}, write{BPF_ST, 0, 0, 3};
  EXPECT_EQ("step 0 of the filter reads memory that was not written", refusal({read, kTake}));
  EXPECT_EQ("", refusal({write, read, kTake}));
  // On one of two ways only.
  const FilterStep either{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 7};
  EXPECT_EQ("step 2 of the filter reads memory that was not written", refusal({either, write, read, kTake}));
  EXPECT_EQ("", refusal({write, either, write, read, kTake}));
}

/// Says by its return value where the filter sent the packet.
class KernelFilter {
 public:
  explicit KernelFilter(const Steps& steps) {
    exits_ = UniqueFd(bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "exits", 4, 4, 2, nullptr));
    for (uint32_t slot = 0; slot < 2; ++slot) {
      ends_[slot] = returning(slot == 0 ? XDP_TX : XDP_DROP);
      const int end = ends_[slot].get();
      EXPECT_EQ(0, bpf_map_update_elem(exits_.get(), &slot, &end, BPF_ANY));
    }
    auto loaded = xdp::load_filter(steps, {exits_.get(), 0, 1});
    EXPECT_TRUE(loaded) << loaded.error();
    if (loaded) program_ = std::move(*loaded);
  }

  bool matches(const Frame& frame) const {
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
                .data_size_in = static_cast<uint32_t>(frame.size()));
    EXPECT_EQ(0, bpf_prog_test_run_opts(program_.get(), &options));
    EXPECT_NE(uint32_t{XDP_PASS}, options.retval);
    return options.retval == XDP_TX;
  }

 private:
  static UniqueFd returning(int action) {
    const bpf_insn code[] = {{BPF_ALU | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, action},
                             {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
    LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_XDP,
                .prog_flags = BPF_F_XDP_HAS_FRAGS);
    return UniqueFd(bpf_prog_load(BPF_PROG_TYPE_XDP, "end", "GPL", code, std::size(code), &options));
  }

  UniqueFd exits_, program_;
  std::array<UniqueFd, 2> ends_;
};

Frame tcp_frame(uint16_t port, size_t options = 0) {
  Frame frame(14 + 20 + options + 20);
  frame[12] = 0x08;
  frame[14] = static_cast<uint8_t>(0x45 + options / 4);
  frame[14 + 9] = 6;
  const uint8_t addresses[] = {198, 51, 100, 7, 203, 0, 113, 10};
  std::memcpy(frame.data() + 14 + 12, addresses, sizeof addresses);
  const size_t l4 = 14 + 20 + options;
  frame[l4 + 2] = static_cast<uint8_t>(port >> 8);
  frame[l4 + 3] = static_cast<uint8_t>(port);
  frame[l4 + 13] = 2;
  return frame;
}

void both(bool expected, const Steps& steps, const Frame& frame, const std::string& what) {
  const auto filter = Filter::of(steps);
  ASSERT_TRUE(filter) << what << ": " << filter.error();
  const auto length = static_cast<uint32_t>(frame.size());
  EXPECT_EQ(expected, filter->matches(frame.data(), length, length)) << what;
  EXPECT_EQ(expected, KernelFilter(steps).matches(frame)) << what;
}

TEST(CaptureFilter, PcapsWordsMeanTheSameToBothEngines) {
  const Frame web = tcp_frame(443), with_options = tcp_frame(443, 8);
  for (const Frame& frame : {web, with_options}) {
    for (const char* yes : {"", "tcp port 443", "host 198.51.100.7 and not udp", "dst net 203.0.113.0/24",
                            "tcp[tcpflags] & tcp-syn != 0", "ip[0] & 0xf >= 5", "ether[12:2] = 0x800",
                            "greater 54", "tcp[2:2] * 2 = 886", "len - 14 > ip[9]", "tcp[2:2] % 100 = 43"})
      both(true, compiled(yes), frame, yes);
    for (const char* no :
         {"tcp port 80", "ip6", "src host 203.0.113.10", "less 20", "vlan 7", "tcp[4000] = 0"})
      both(false, compiled(no), frame, no);
  }
}

TEST(CaptureFilter, OddArithmeticMeansTheSameToBothEngines) {
  const Frame frame = tcp_frame(443);
  const auto with_x = [](uint32_t x, uint16_t code, uint32_t expected) {
    return Steps{{BPF_LDX | BPF_IMM, 0, 0, x},
                 {BPF_LD | BPF_IMM, 0, 0, 0x80000003},
                 {code, 0, 0, 0},
                 {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, expected},
                 kTake,
                 kLeave};
  };
  both(true, with_x(31, BPF_ALU | BPF_RSH | BPF_X, 1), frame, "shift by 31");
  both(true, with_x(32, BPF_ALU | BPF_LSH | BPF_X, 0), frame, "shift by 32");
  both(true, with_x(33, BPF_ALU | BPF_RSH | BPF_X, 0), frame, "shift by 33");
  both(false, with_x(0, BPF_ALU | BPF_DIV | BPF_X, 0), frame, "division by zero ends it");
  both(false, with_x(0, BPF_ALU | BPF_MOD | BPF_X, 0), frame, "so does the rest of one");
  both(true, with_x(2, BPF_ALU | BPF_MUL | BPF_X, 6), frame, "of 32 bits");
  both(true, with_x(0, BPF_ALU | BPF_NEG, 0x7ffffffd), frame, "negation");
  both(false, {{BPF_LDX | BPF_IMM, 0, 0, ~0U}, {BPF_LD | BPF_B | BPF_IND, 0, 0, 1}, kTake}, frame,
       "an offset that would wrap around");
  both(true, {{BPF_LDX | BPF_IMM, 0, 0, 53}, {BPF_LD | BPF_B | BPF_IND, 0, 0, 0}, kTake}, frame,
       "the last byte");
  both(false, {{BPF_LDX | BPF_IMM, 0, 0, 53}, {BPF_LD | BPF_H | BPF_IND, 0, 0, 0}, kTake}, frame, "one more");
}

/// Any program that is taken at all.
TEST(CaptureFilter, RandomProgramsMeanTheSameToBothEngines) {
  std::mt19937 random(7);
  const auto pick = [&](uint32_t below) { return static_cast<uint32_t>(random() % below); };
  constexpr uint16_t kCodes[] = {
      BPF_LD | BPF_IMM,           BPF_LDX | BPF_IMM,         BPF_LD | BPF_W | BPF_ABS,
      BPF_LD | BPF_H | BPF_ABS,   BPF_LD | BPF_B | BPF_ABS,  BPF_LD | BPF_B | BPF_IND,
      BPF_LD | BPF_H | BPF_IND,   BPF_LDX | BPF_B | BPF_MSH, BPF_LD | BPF_W | BPF_LEN,
      BPF_ALU | BPF_ADD | BPF_X,  BPF_ALU | BPF_AND | BPF_K, BPF_ALU | BPF_XOR | BPF_X,
      BPF_ALU | BPF_LSH | BPF_X,  BPF_ALU | BPF_DIV | BPF_X, BPF_ALU | BPF_SUB | BPF_K,
      BPF_MISC | BPF_TAX,         BPF_MISC | BPF_TXA,        BPF_ST,
      BPF_LD | BPF_MEM,           BPF_JMP | BPF_JGT | BPF_X, BPF_JMP | BPF_JGE | BPF_K,
      BPF_JMP | BPF_JSET | BPF_K, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_A};
  int taken = 0, wanted = 0;
  while (taken < 150) {
    Steps steps;
    const uint32_t length = 3 + pick(16);
    for (uint32_t i = 0; i < length; ++i) {
      FilterStep step{kCodes[pick(std::size(kCodes))], 0, 0, pick(64)};
      if (BPF_CLASS(step.code) == BPF_JMP) {
        step.if_true = static_cast<uint8_t>(pick(4));
        step.if_false = static_cast<uint8_t>(pick(4));
      }
      if (step.code == BPF_ST || step.code == (BPF_LD | BPF_MEM)) step.k %= 4;
      steps.push_back(step);
    }
    steps.push_back(pick(2) == 0 ? kTake : kLeave);
    const auto filter = Filter::of(steps);
    if (!filter) continue;
    ++taken;
    const Frame frame = tcp_frame(static_cast<uint16_t>(random()));
    const auto bytes = static_cast<uint32_t>(frame.size());
    const bool matches = filter->matches(frame.data(), bytes, bytes);
    wanted += matches ? 1 : 0;
    EXPECT_EQ(matches, KernelFilter(steps).matches(frame)) << "program " << taken;
  }
  EXPECT_GT(wanted, 20);
  EXPECT_LT(wanted, 130);
}

}  // namespace
}  // namespace linimo
