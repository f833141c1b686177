// linimo-decap: puts decap.bpf.c on a network device, says what it does there, and takes it off again.
//
//     linimo-decap attach eth0
//     linimo-decap status
//     linimo-decap detach eth0
//
// Exit codes: 0 done, 1 it failed (of status: it is not attached), 2 wrong usage.

#include <cerrno>
#include <cstring>
#include <string>

#include <CLI/CLI.hpp>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <net/if.h>

#include "bpf/decap/attachment.h"
#include "maglev/program.h"

namespace linimo::decap {
namespace {

int fail(const std::string& device, const std::string& why) {
  fmt::print(stderr, "linimo-decap: {}: {}\n", device, why);
  return kFailed;
}

/// Of one device, or of all that there are.
int show_status(const std::string& device) {
  size_t attached = 0;
  int code = 0;
  const auto show = [&](const char* name, int index) {
    const auto found = status(index);
    if (!found && !device.empty()) code = fail(name, found.error());
    if (!found || !*found) return;
    ++attached;
    const Status& now = **found;
    fmt::print("{}: attached, {}, GUE port {}: {} packets decapsulated, {} passed, {} dropped\n", name,
               name_of(now.mode), now.gue_port, now.verdicts[LINIMO_DECAP_REMOVED],
               now.verdicts[LINIMO_DECAP_PASSED], now.verdicts[LINIMO_DECAP_DROPPED]);
  };
  if (!device.empty()) {
    show(device.c_str(), static_cast<int>(if_nametoindex(device.c_str())));
  } else if (struct if_nameindex* all = if_nameindex()) {
    for (const struct if_nameindex* one = all; one->if_index != 0; ++one)
      show(one->if_name, static_cast<int>(one->if_index));
    if_freenameindex(all);
  }
  if (attached != 0 || code != 0) return code;
  fmt::print("{}not attached\n", device.empty() ? "" : device + ": ");
  return kFailed;
}

int run(int argc, char** argv) {
  CLI::App app(
      "Takes Linimo's tunnels (IPIP, GRE, GUE) off the packets that a network device receives, for backends "
      "without tunnel devices.",
      "linimo-decap");
  app.set_version_flag("--version", LINIMO_VERSION);
  app.require_subcommand(1);
  std::string device;
  uint16_t gue_port = 6080;
  std::string mode = "auto";
  CLI::App* attach_command =
      app.add_subcommand("attach", "put the XDP program on a device, or replace an earlier one of ours");
  attach_command->add_option("DEV", device, "network device")->required();
  attach_command->add_option("--gue-port", gue_port, "UDP port of GUE tunnels")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  attach_command
      ->add_option("--mode", mode,
                   "native: in the driver; generic: in the kernel's stack; auto: native if possible")
      ->check(CLI::IsMember({"auto", "native", "generic"}))
      ->capture_default_str();
  CLI::App* detach_command = app.add_subcommand("detach", "take it off");
  detach_command->add_option("DEV", device, "network device")->required();
  CLI::App* status_command = app.add_subcommand("status", "where it is attached, and what it has counted");
  status_command->add_option("DEV", device, "network device (default: all)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }

  libbpf_set_print(keep_complaint);
  const int index = device.empty() ? 0 : static_cast<int>(if_nametoindex(device.c_str()));
  if (!device.empty() && index == 0) return fail(device, std::strerror(errno));
  if (status_command->parsed()) return show_status(device);
  const auto done = attach_command->parsed() ? attach(index, mode_named(mode), gue_port) : detach(index);
  if (!done) return fail(device, done.error());
  fmt::print("{}: {}\n", device, *done);
  return 0;
}

}  // namespace
}  // namespace linimo::decap

int main(int argc, char** argv) {
  return linimo::decap::run(argc, argv);
}
