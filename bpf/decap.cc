// linimo-decap: puts decap.bpf.c on a network device and takes it off again.
//
//     linimo-decap attach eth0
//     linimo-decap detach eth0
//
// The program belongs to the device, not to this process: it stays until it is detached or the device goes,
// and nothing is pinned. Attaching again replaces it without a gap, and so changes its port. Another XDP
// program is never replaced or taken off: it is known by its name.

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <tl/expected.hpp>

#include "bpf/decap.skel.h"
#include "maglev/unique_fd.h"

namespace linimo {
namespace {

constexpr std::string_view kProgramName = "linimo_decap";

enum class Mode { kAuto, kNative, kGeneric };

Mode mode_named(std::string_view name) {
  return name == "native" ? Mode::kNative : name == "generic" ? Mode::kGeneric : Mode::kAuto;
}

const char* name_of(Mode mode) {
  return mode == Mode::kNative ? "native" : "generic";
}

uint32_t flags_of(Mode mode) {
  return mode == Mode::kNative ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
}

/// What libbpf and the kernel said about the step that failed.
std::string complaints;

int keep_complaint(libbpf_print_level level, const char* format, va_list arguments) {
  if (level != LIBBPF_WARN) return 0;
  char text[4096];
  const int length = vsnprintf(text, sizeof text, format, arguments);
  std::string_view line = text;
  if (line.ends_with('\n')) line.remove_suffix(1);
  complaints.append("; ").append(line);
  return length;
}

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

using Skeleton = std::unique_ptr<decap_bpf, decltype(&decap_bpf__destroy)>;

tl::expected<Skeleton, std::string> load(uint16_t gue_port) {
  Skeleton decap(decap_bpf__open(), decap_bpf__destroy);
  if (!decap) return failure("cannot open the program", errno);
  decap->rodata->gue_port = gue_port;
  if (const int error = decap_bpf__load(decap.get()))
    return failure("the kernel does not load the program", -error);
  return decap;
}

/// In the mode that is asked for; else native, and generic where the driver cannot, or as it was attached
/// before.
tl::expected<std::string, std::string> attach(int device, Mode wanted, uint16_t gue_port) {
  const auto attached = find_attached(device);
  if (!attached) return tl::unexpected(attached.error());
  const auto decap = load(gue_port);
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

}  // namespace
}  // namespace linimo

int main(int argc, char** argv) {
  CLI::App app(
      "Takes Linimo's tunnels (IPIP, GRE, GUE) off what a network device receives, on backends without "
      "tunnel "
      "devices.",
      "linimo-decap");
  app.set_version_flag("--version", LINIMO_VERSION);
  app.require_subcommand(1);
  std::string device;
  uint16_t gue_port = 6080;
  std::string mode = "auto";
  CLI::App* attach =
      app.add_subcommand("attach", "put the XDP program on a device, or replace the one put there before");
  attach->add_option("DEV", device, "network device")->required();
  attach->add_option("--gue-port", gue_port, "UDP port of GUE tunnels")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  attach
      ->add_option("--mode", mode,
                   "native: in the driver; generic: in the kernel's stack; auto: native if it can be")
      ->check(CLI::IsMember({"auto", "native", "generic"}))
      ->capture_default_str();
  CLI::App* detach = app.add_subcommand("detach", "take it off again");
  detach->add_option("DEV", device, "network device")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;  // 1: it failed
  }

  libbpf_set_print(linimo::keep_complaint);
  const int index = static_cast<int>(if_nametoindex(device.c_str()));
  if (index == 0) {
    fmt::print(stderr, "linimo-decap: {}: {}\n", device, std::strerror(errno));
    return 1;
  }
  const auto done =
      attach->parsed() ? linimo::attach(index, linimo::mode_named(mode), gue_port) : linimo::detach(index);
  if (!done) {
    fmt::print(stderr, "linimo-decap: {}: {}\n", device, done.error());
    return 1;
  }
  fmt::print("{}: {}\n", device, *done);
  return 0;
}
