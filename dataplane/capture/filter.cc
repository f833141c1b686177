#include "dataplane/capture/filter.h"

#include <array>
#include <cstddef>

#include <fmt/format.h>
#include <pcap/bpf.h>

namespace linimo {
namespace {

using protocol::FilterStep;

static_assert(sizeof(bpf_insn) == sizeof(FilterStep) &&
              offsetof(bpf_insn, jt) == offsetof(FilterStep, if_true) &&
              offsetof(bpf_insn, jf) == offsetof(FilterStep, if_false) &&
              offsetof(bpf_insn, k) == offsetof(FilterStep, k));

constexpr uint32_t kLongestFrame = 0xffff;
constexpr uint32_t kWordBits = 32;

/// Why a step that is no jump and ends nothing may not stand there; nullptr: it may.
const char* wrong_with(const FilterStep& step) {
  switch (step.code) {
    case BPF_LD | BPF_W | BPF_ABS:
    case BPF_LD | BPF_H | BPF_ABS:
    case BPF_LD | BPF_B | BPF_ABS:
    case BPF_LD | BPF_W | BPF_IND:
    case BPF_LD | BPF_H | BPF_IND:
    case BPF_LD | BPF_B | BPF_IND:
    case BPF_LDX | BPF_B | BPF_MSH:
      return step.k > kLongestFrame ? "reads beyond any frame" : nullptr;
    case BPF_LD | BPF_MEM:
    case BPF_LDX | BPF_MEM:
    case BPF_ST:
    case BPF_STX:
      return step.k >= BPF_MEMWORDS ? "has no such memory" : nullptr;
    case BPF_ALU | BPF_DIV | BPF_K:
    case BPF_ALU | BPF_MOD | BPF_K:
      return step.k == 0 ? "divides by zero" : nullptr;
    case BPF_ALU | BPF_LSH | BPF_K:
    case BPF_ALU | BPF_RSH | BPF_K:
      return step.k >= kWordBits ? "shifts by more bits than there are" : nullptr;
    case BPF_LD | BPF_IMM:
    case BPF_LDX | BPF_IMM:
    case BPF_LD | BPF_W | BPF_LEN:
    case BPF_LDX | BPF_W | BPF_LEN:
    case BPF_ALU | BPF_ADD | BPF_K:
    case BPF_ALU | BPF_SUB | BPF_K:
    case BPF_ALU | BPF_MUL | BPF_K:
    case BPF_ALU | BPF_OR | BPF_K:
    case BPF_ALU | BPF_AND | BPF_K:
    case BPF_ALU | BPF_XOR | BPF_K:
    case BPF_ALU | BPF_ADD | BPF_X:
    case BPF_ALU | BPF_SUB | BPF_X:
    case BPF_ALU | BPF_MUL | BPF_X:
    case BPF_ALU | BPF_DIV | BPF_X:
    case BPF_ALU | BPF_MOD | BPF_X:
    case BPF_ALU | BPF_OR | BPF_X:
    case BPF_ALU | BPF_AND | BPF_X:
    case BPF_ALU | BPF_XOR | BPF_X:
    case BPF_ALU | BPF_LSH | BPF_X:
    case BPF_ALU | BPF_RSH | BPF_X:
    case BPF_ALU | BPF_NEG:
    case BPF_MISC | BPF_TAX:
    case BPF_MISC | BPF_TXA:
      return nullptr;
    default:
      return "is no step of classic BPF";
  }
}

bool is_branch(uint16_t code) {
  const uint16_t op = BPF_OP(code);
  return BPF_CLASS(code) == BPF_JMP && (code & ~(BPF_JMP | 0xf0 | BPF_X)) == 0 &&
         (op == BPF_JEQ || op == BPF_JGT || op == BPF_JGE || op == BPF_JSET);
}

}  // namespace

tl::expected<Filter, std::string> Filter::of(std::span<const FilterStep> steps) {
  if (steps.empty() || steps.size() > protocol::kMostFilterSteps)
    return tl::unexpected(
        fmt::format("a filter has 1 to {} steps, this one {}", protocol::kMostFilterSteps, steps.size()));
  const auto wrong = [](size_t at, const char* what) {
    return tl::unexpected(fmt::format("step {} of the filter {}", at, what));
  };
  // Of each step: which words of its memory every way to it has written.
  std::array<uint16_t, protocol::kMostFilterSteps> written_at{};
  written_at.fill(0xffff);
  uint16_t written = 0;
  for (size_t at = 0; at < steps.size(); ++at) {
    const FilterStep& step = steps[at];
    const size_t left = steps.size() - at - 1;  // steps that one may jump to
    written &= written_at[at];
    if (step.code == (BPF_RET | BPF_K) || step.code == (BPF_RET | BPF_A)) {
      written = 0xffff;
      continue;
    }
    if (left == 0) return wrong(at, "is the last and does not return");
    if (step.code == (BPF_JMP | BPF_JA)) {
      if (step.k >= left) return wrong(at, "jumps out of it");
      written_at[at + 1 + step.k] &= written;
      written = 0xffff;
    } else if (is_branch(step.code)) {
      if (step.if_true >= left || step.if_false >= left) return wrong(at, "jumps out of it");
      written_at[at + 1 + step.if_true] &= written;
      written_at[at + 1 + step.if_false] &= written;
      written = 0xffff;
    } else if (const char* what = wrong_with(step)) {
      return wrong(at, what);
    } else if (step.code == BPF_ST || step.code == BPF_STX) {
      written = static_cast<uint16_t>(written | 1U << step.k);
    } else if ((step.code == (BPF_LD | BPF_MEM) || step.code == (BPF_LDX | BPF_MEM)) &&
               (written >> step.k & 1) == 0) {
      return wrong(at, "reads memory that was not written");
    }
  }
  return Filter(steps);
}

bool Filter::matches(const uint8_t* frame, uint32_t length, uint32_t kept) const {
  return bpf_filter(reinterpret_cast<const bpf_insn*>(steps_.data()), frame, length, kept) != 0;
}

}  // namespace linimo
