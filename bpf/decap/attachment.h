// The decapsulating program on a network device: put there, looked at, taken off.
//
// The program belongs to the device, not to a process: it stays until it is detached or the device goes, and
// nothing is pinned. Attaching again replaces it without a gap, and keeps what it has counted. Another XDP
// program is never replaced or taken off: ours is known by its name.
//
// Devices are given by their index. Errors are ready to be shown. One thread.
#pragma once

#include <array>
#include <cstdarg>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <bpf/libbpf.h>
#include <tl/expected.hpp>

#include "bpf/decap/verdict.h"

namespace linimo::decap {

/// Where the kernel runs it: in the driver, or in its stack. kAuto: in the driver if it can.
enum class Mode { kAuto, kNative, kGeneric };
Mode mode_named(std::string_view name);
const char* name_of(Mode mode);

struct Status {
  Mode mode = Mode::kNative;
  uint16_t gue_port = 0;
  std::array<uint64_t, LINIMO_DECAP_VERDICTS> verdicts{};  // packets
};

/// What was done, in words.
tl::expected<std::string, std::string> attach(int device, Mode wanted, uint16_t gue_port);
tl::expected<std::string, std::string> detach(int device);
/// Nothing where no program is; an error where another's is.
tl::expected<std::optional<Status>, std::string> status(int device);

/// For libbpf_set_print: what it and the kernel say of a step that fails becomes part of the error.
int keep_complaint(libbpf_print_level level, const char* format, va_list arguments);

}  // namespace linimo::decap
