#include "bpf/decap/attachment.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/if_link.h>

#include "bpf/decap/decap.skel.h"
#include "maglev/unique_fd.h"

namespace linimo::decap {
namespace {

constexpr std::string_view kProgramName = "linimo_decap";
constexpr std::string_view kCountsName = "verdicts";

uint32_t flags_of(Mode mode) {
  return mode == Mode::kNative ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
}

/// What libbpf and the kernel said about the step that failed.
std::string complaints;

tl::unexpected<std::string> failure(std::string_view what, int error) {
  std::string text = fmt::format("{}: {}", what, std::strerror(error));
  if (error == EPERM) text += " (root, or CAP_BPF and CAP_NET_ADMIN, is needed)";
  return tl::unexpected(text + complaints);
}

/// Our program on a device, which is there already.
struct Attached {
  Mode mode;
  UniqueFd program;
};

/// Nothing, or our program; an error if somebody else's is there.
tl::expected<std::optional<Attached>, std::string> find_attached(int device) {
  bpf_xdp_query_opts query = {};
  query.sz = sizeof query;
  if (const int error = bpf_xdp_query(device, 0, &query))
    return failure("cannot ask for its programs", -error);
  if (query.attach_mode == XDP_ATTACHED_NONE) return std::nullopt;

  const bool generic = query.attach_mode == XDP_ATTACHED_SKB;
  Attached attached{generic ? Mode::kGeneric : Mode::kNative, UniqueFd(bpf_prog_get_fd_by_id(query.prog_id))};
  bpf_prog_info info = {};
  uint32_t size = sizeof info;
  if (!attached.program || bpf_obj_get_info_by_fd(attached.program.get(), &info, &size) != 0) {
    return failure("cannot look at the XDP program that is attached", errno);
  }
  if (info.name != kProgramName) {
    return tl::unexpected(fmt::format("another XDP program is attached (\"{}\", id {})", info.name, info.id));
  }
  return attached;
}

/// One of our program's maps: the first whose name ends so, if its values are of that size (rounded up, since
/// constants may be padded).
UniqueFd map_of(const UniqueFd& program, std::string_view ending, uint32_t value_size) {
  std::array<uint32_t, 16> ids{};
  bpf_prog_info info = {};
  info.nr_map_ids = ids.size();
  info.map_ids = reinterpret_cast<uint64_t>(ids.data());
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(program.get(), &info, &size) != 0) return {};
  for (uint32_t i = 0; i < std::min<uint32_t>(info.nr_map_ids, ids.size()); ++i) {
    UniqueFd map(bpf_map_get_fd_by_id(ids[i]));
    bpf_map_info about = {};
    size = sizeof about;
    if (map && bpf_obj_get_info_by_fd(map.get(), &about, &size) == 0 &&
        std::string_view(about.name).ends_with(ending) && (about.value_size + 7) / 8 == (value_size + 7) / 8)
      return map;
  }
  return {};
}

using Skeleton = std::unique_ptr<decap_bpf, decltype(&decap_bpf__destroy)>;

/// `predecessor`: on the same device, whose counts go on.
tl::expected<Skeleton, std::string> load(uint16_t gue_port, const std::optional<Attached>& predecessor) {
  Skeleton decap(decap_bpf__open(), decap_bpf__destroy);
  if (!decap) return failure("cannot open the program", errno);
  if (const UniqueFd counts =
          predecessor ? map_of(predecessor->program, kCountsName, sizeof(uint64_t)) : UniqueFd();
      counts)
    bpf_map__reuse_fd(decap->maps.verdicts, counts.get());
  decap->rodata->gue_port = gue_port;
  if (const int error = decap_bpf__load(decap.get()))
    return failure("the kernel does not load the program", -error);
  return decap;
}

}  // namespace

Mode mode_named(std::string_view name) {
  return name == "native" ? Mode::kNative : name == "generic" ? Mode::kGeneric : Mode::kAuto;
}

const char* name_of(Mode mode) {
  return mode == Mode::kNative ? "native" : "generic";
}

int keep_complaint(libbpf_print_level level, const char* format, va_list arguments) {
  if (level != LIBBPF_WARN) return 0;
  char text[4096];
  const int length = vsnprintf(text, sizeof text, format, arguments);
  std::string_view line = text;
  if (line.ends_with('\n')) line.remove_suffix(1);
  complaints.append("; ").append(line);
  return length;
}

/// In the mode that is asked for; else native, and generic where the driver cannot, or as it was attached
/// before.
tl::expected<std::string, std::string> attach(int device, Mode wanted, uint16_t gue_port) {
  const auto attached = find_attached(device);
  if (!attached) return tl::unexpected(attached.error());
  const auto decap = load(gue_port, *attached);
  if (!decap) return tl::unexpected(decap.error());
  const int program = bpf_program__fd((*decap)->progs.linimo_decap);

  if (*attached && (wanted == Mode::kAuto || wanted == (*attached)->mode)) {
    bpf_xdp_attach_opts replace = {};
    replace.sz = sizeof replace;
    replace.old_prog_fd = (*attached)->program.get();
    if (const int error = bpf_xdp_attach(device, program, flags_of((*attached)->mode), &replace)) {
      return failure("cannot replace the program", -error);
    }
    return fmt::format("replaced, {}", name_of((*attached)->mode));
  }
  if (*attached) {
    return tl::unexpected(
        fmt::format("it is attached already, {}: detach it first", name_of((*attached)->mode)));
  }
  std::string why_not_native;
  for (const Mode mode : {Mode::kNative, Mode::kGeneric}) {
    if (wanted != Mode::kAuto && wanted != mode) continue;
    complaints.clear();
    const int error = bpf_xdp_attach(device, program, flags_of(mode) | XDP_FLAGS_UPDATE_IF_NOEXIST, nullptr);
    if (error == 0) return fmt::format("attached, {}{}", name_of(mode), why_not_native);
    const auto failed = failure(fmt::format("cannot attach the program, {}", name_of(mode)), -error);
    if (wanted != Mode::kAuto || mode == Mode::kGeneric) return failed;
    why_not_native = fmt::format(" ({})", failed.value());
  }
  return tl::unexpected(std::string("no such mode"));
}

tl::expected<std::string, std::string> detach(int device) {
  const auto attached = find_attached(device);
  if (!attached) return tl::unexpected(attached.error());
  if (!*attached) return "nothing was attached";
  bpf_xdp_attach_opts only_ours = {};
  only_ours.sz = sizeof only_ours;
  only_ours.old_prog_fd = (*attached)->program.get();
  if (const int error = bpf_xdp_detach(device, flags_of((*attached)->mode), &only_ours)) {
    return failure("cannot detach the program", -error);
  }
  return "detached";
}

tl::expected<std::optional<Status>, std::string> status(int device) {
  const auto attached = find_attached(device);
  if (!attached) return tl::unexpected(attached.error());
  if (!*attached) return std::nullopt;
  Status status;
  status.mode = (*attached)->mode;
  const UniqueFd constants = map_of((*attached)->program, ".rodata", sizeof status.gue_port);
  const UniqueFd counts = map_of((*attached)->program, kCountsName, sizeof(uint64_t));
  const uint32_t first = 0;
  uint64_t port = 0;  // the first two bytes of it
  if (!constants || !counts || bpf_map_lookup_elem(constants.get(), &first, &port) != 0)
    return failure("its maps cannot be read", errno);
  std::memcpy(&status.gue_port, &port, sizeof status.gue_port);
  const int cpus = libbpf_num_possible_cpus();
  if (cpus <= 0) return failure("cannot count the CPUs", -cpus);
  std::vector<uint64_t> of_cpus(static_cast<size_t>(cpus));
  for (uint32_t verdict = 0; verdict < LINIMO_DECAP_VERDICTS; ++verdict) {
    if (bpf_map_lookup_elem(counts.get(), &verdict, of_cpus.data()) != 0)
      return failure("its counts cannot be read", errno);
    for (const uint64_t count : of_cpus) status.verdicts[verdict] += count;
  }
  return status;
}

}  // namespace linimo::decap
