#include "dataplane/xdp/filter_program.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_link.h>

namespace linimo::xdp {
namespace {

using protocol::FilterStep;

// Of the machine that classic BPF is written for: its accumulator and its index; beside them the packet.
constexpr uint8_t kPacket = BPF_REG_6, kA = BPF_REG_7, kX = BPF_REG_8;
constexpr int16_t kLoaded = -8;                              // on the stack: what was read of the packet
constexpr int16_t kMemory = kLoaded - 8 - 4 * BPF_MEMWORDS;  // and its 16 words
constexpr uint32_t kLongestFrame = 0xffff;

class Translation {
 public:
  explicit Translation(const FilterExits& exits) : exits_(exits) {}

  std::vector<bpf_insn> of(std::span<const FilterStep> steps) {
    add(BPF_ALU64 | BPF_MOV | BPF_X, kPacket, BPF_REG_1);
    set(kA, 0);
    set(kX, 0);
    // The kernel takes no code that no way leads to.
    const std::vector<bool> reached = reached_of(steps);
    for (size_t step = 0; step < steps.size(); ++step) {
      begins_.push_back(code_.size());
      if (reached[step]) translate(steps[step]);
    }
    const size_t wanted = code_.size();
    if (leads_to(kWanted)) leave(exits_.wanted);
    const size_t other = code_.size();
    if (leads_to(kOther)) leave(exits_.other);
    for (const auto& [from, to] : jumps_) {
      const size_t target = to == kWanted ? wanted : to == kOther ? other : begins_[to];
      code_[from].off = static_cast<int16_t>(target - from - 1);
    }
    return std::move(code_);
  }

 private:
  static constexpr size_t kWanted = ~size_t{0}, kOther = kWanted - 1;  // in place of a step's number

  static std::vector<bool> reached_of(std::span<const FilterStep> steps) {
    std::vector<bool> reached(steps.size());
    reached[0] = true;
    for (size_t at = 0; at < steps.size(); ++at) {
      const FilterStep& step = steps[at];
      if (!reached[at] || BPF_CLASS(step.code) == BPF_RET) continue;
      if (BPF_CLASS(step.code) != BPF_JMP) {
        reached[at + 1] = true;
      } else if (BPF_OP(step.code) == BPF_JA) {
        reached[at + 1 + step.k] = true;
      } else {
        reached[at + 1 + step.if_true] = reached[at + 1 + step.if_false] = true;
      }
    }
    return reached;
  }
  bool leads_to(size_t exit) const {
    return std::ranges::any_of(jumps_, [exit](const auto& jump) { return jump.second == exit; });
  }

  void add(uint8_t code, uint8_t to, uint8_t from = 0, int16_t offset = 0, uint32_t value = 0) {
    bpf_insn one{};
    one.code = code;
    one.dst_reg = to & 15;
    one.src_reg = from & 15;
    one.off = offset;
    one.imm = static_cast<int32_t>(value);
    code_.push_back(one);
  }
  void set(uint8_t to, uint32_t value) { add(BPF_ALU | BPF_MOV | BPF_K, to, 0, 0, value); }
  void copy(uint8_t to, uint8_t from) { add(BPF_ALU | BPF_MOV | BPF_X, to, from); }
  void call(uint32_t helper) { add(BPF_JMP | BPF_CALL, 0, 0, 0, helper); }
  /// 32 bits are compared.
  void jump_if(uint8_t how, uint8_t what, uint8_t with, uint32_t value, size_t to) {
    jumps_.emplace_back(code_.size(), to);
    add(static_cast<uint8_t>(BPF_JMP32 | how), what, with, 0, value);
  }
  void jump(size_t to) {
    jumps_.emplace_back(code_.size(), to);
    add(BPF_JMP | BPF_JA, 0);
  }

  void leave(uint32_t slot) {
    add(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, kPacket);
    add(BPF_LD | BPF_IMM | BPF_DW, BPF_REG_2, BPF_PSEUDO_MAP_FD, 0, static_cast<uint32_t>(exits_.programs));
    add(0, 0);
    set(BPF_REG_3, slot);
    call(BPF_FUNC_tail_call);
    set(BPF_REG_0, XDP_PASS);
    add(BPF_JMP | BPF_EXIT, 0);
  }

  /// `at`, and X more where it is `indexed`; a packet that is not so long is not wanted.
  void load(uint8_t to, uint8_t size, bool indexed, uint32_t at) {
    const uint32_t bytes = size == BPF_W ? 4 : size == BPF_H ? 2 : 1;
    if (indexed) {
      copy(BPF_REG_2, kX);
      jump_if(BPF_JGT, BPF_REG_2, 0, kLongestFrame, kOther);
      add(BPF_ALU | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, at);
    } else {
      set(BPF_REG_2, at);
    }
    add(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, kPacket);
    add(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_10);
    add(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_3, 0, 0, static_cast<uint32_t>(kLoaded));
    set(BPF_REG_4, bytes);
    call(BPF_FUNC_xdp_load_bytes);
    jump_if(BPF_JNE, BPF_REG_0, 0, 0, kOther);
    add(static_cast<uint8_t>(BPF_LDX | BPF_MEM | size), to, BPF_REG_10, kLoaded);
    if (bytes > 1) add(BPF_ALU | BPF_END | BPF_TO_BE, to, 0, 0, bytes * 8);
  }

  void compute(const FilterStep& step) {
    const bool by_x = BPF_SRC(step.code) == BPF_X;
    const auto op = BPF_OP(step.code);
    if (by_x && (op == BPF_DIV || op == BPF_MOD)) jump_if(BPF_JEQ, kX, 0, 0, kOther);
    if (by_x && (op == BPF_LSH || op == BPF_RSH)) {  // by 32 bits or more: nothing is left
      constexpr uint32_t kBits = 32;
      add(BPF_JMP32 | BPF_JLT | BPF_K, kX, 0, 2, kBits);
      set(kA, 0);
      add(BPF_JMP | BPF_JA, 0, 0, 1);
    }
    add(static_cast<uint8_t>(step.code), kA, by_x ? kX : uint8_t{0}, 0, op == BPF_NEG || by_x ? 0 : step.k);
  }

  void translate(const FilterStep& step) {
    const auto memory =
        static_cast<int16_t>(static_cast<uint32_t>(kMemory) + 4 * step.k);  // if it is one of those words
    const size_t next = begins_.size();
    switch (BPF_CLASS(step.code)) {
      case BPF_LD:
      case BPF_LDX: {
        const uint8_t to = BPF_CLASS(step.code) == BPF_LD ? kA : kX;
        switch (BPF_MODE(step.code)) {
          case BPF_IMM:
            return set(to, step.k);
          case BPF_MEM:
            return add(BPF_LDX | BPF_MEM | BPF_W, to, BPF_REG_10, memory);
          case BPF_LEN:
            add(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, kPacket);
            call(BPF_FUNC_xdp_get_buff_len);
            return copy(to, BPF_REG_0);
          case BPF_MSH:  // an IPv4 header's length
            load(kX, BPF_B, false, step.k);
            add(BPF_ALU | BPF_AND | BPF_K, kX, 0, 0, 15);
            return add(BPF_ALU | BPF_LSH | BPF_K, kX, 0, 0, 2);
          default:
            return load(kA, BPF_SIZE(step.code), BPF_MODE(step.code) == BPF_IND, step.k);
        }
      }
      case BPF_ST:
        return add(BPF_STX | BPF_MEM | BPF_W, BPF_REG_10, kA, memory);
      case BPF_STX:
        return add(BPF_STX | BPF_MEM | BPF_W, BPF_REG_10, kX, memory);
      case BPF_ALU:
        return compute(step);
      case BPF_JMP:
        if (BPF_OP(step.code) == BPF_JA) return jump(next + step.k);
        if (BPF_SRC(step.code) == BPF_X)
          jump_if(BPF_OP(step.code) | BPF_X, kA, kX, 0, next + step.if_true);
        else
          jump_if(BPF_OP(step.code), kA, 0, step.k, next + step.if_true);
        return jump(next + step.if_false);
      case BPF_RET:
        if (BPF_RVAL(step.code) != BPF_A) return jump(step.k != 0 ? kWanted : kOther);
        jump_if(BPF_JEQ, kA, 0, 0, kOther);
        return jump(kWanted);
      default:
        return BPF_MISCOP(step.code) == BPF_TAX ? copy(kX, kA) : copy(kA, kX);
    }
  }

  FilterExits exits_;
  std::vector<bpf_insn> code_;
  std::vector<size_t> begins_;                    // of the steps, in the code
  std::vector<std::pair<size_t, size_t>> jumps_;  // from where in the code, to which step
};

}  // namespace

tl::expected<UniqueFd, std::string> load_filter(std::span<const FilterStep> steps, const FilterExits& exits) {
  const std::vector<bpf_insn> code = Translation(exits).of(steps);
  LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_XDP,
              .prog_flags = BPF_F_XDP_HAS_FRAGS);  // as those that it leads to
  UniqueFd program(
      bpf_prog_load(BPF_PROG_TYPE_XDP, "linimo_filter", "Dual BSD/GPL", code.data(), code.size(), &options));
  if (!program)
    return tl::unexpected(
        fmt::format("the kernel does not take the filter: {}; a shorter one may do", std::strerror(errno)));
  return program;
}

}  // namespace linimo::xdp
