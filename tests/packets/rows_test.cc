// Receive queues of the XDP engine that were not there when it started: their packets are forwarded, tracked
// and counted as all others, and an interface never writes into another's rows.

#include <cstring>
#include <future>

#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "dataplane/xdp/program.h"
#include "tests/packets/case_file.h"

namespace linimo::tests {
namespace {

constexpr uint32_t kQueues = 4;  // of the device, of which the interface's program knows two

/// A device with several receive queues in a network namespace of the calling thread's own: the kernel runs a
/// program only as if on a queue that exists.
class Device {
 public:
  Device() {
    if (unshare(CLONE_NEWNET) != 0) throw std::runtime_error("a network namespace");
    ifreq request{};
    std::strcpy(request.ifr_name, "queues");
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE;
    for (UniqueFd& queue : queues_) {
      queue = UniqueFd(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
      if (ioctl(queue.get(), TUNSETIFF, &request) != 0) throw std::runtime_error("a TAP with queues");
    }
  }
  uint32_t index() const { return if_nametoindex("queues"); }

 private:
  UniqueFd queues_[kQueues];
};

const Bytes& a_new_flow() {
  for (const Case& from : case_file().cases) {
    if (from.name == "flows_spread_tracked_v4") return from.steps.front().frame;
  }
  throw std::runtime_error("the case is not there");
}

struct Seen {
  uint64_t forwarded = 0, flows = 0;

  bool operator==(const Seen&) const = default;
  friend void PrintTo(const Seen& seen, std::ostream* out) {
    *out << seen.forwarded << " forwarded, " << seen.flows << " flows";
  }
};

/// What each row counts after one new flow has come in on each queue of the first of two interfaces.
std::vector<Seen> run_on_all_queues() {
  const Device device;
  auto program = xdp::Program::load({.rows = 4, .flows_per_row = 64}, {});
  if (!program) throw std::runtime_error(program.error());
  const Configuration& configuration = case_file().configuration;
  const auto published =
      (*program)->publish(build_snapshot(configuration.snapshot), configuration.host_addresses);
  if (!published) throw std::runtime_error(published.error());
  for (const auto& [id, hop] : configuration.next_hops) (*program)->next_hops().store(id, hop);
  for (uint32_t port = 0; port < configuration.port_macs.size(); ++port) {
    if (!(*program)->set_port(port, static_cast<int>(port) + 1, configuration.port_macs[port]))
      throw std::runtime_error("the port");
  }
  const auto first = (*program)->program_for(0, 0, 2);
  if (!first || !(*program)->program_for(1, 2, 2)) throw std::runtime_error("the program");
  for (uint32_t row = 0; row <= 4; ++row) {
    if (auto served = (*program)->serve(row); !served) throw std::runtime_error(served.error());
  }
  const Bytes& frame = a_new_flow();
  Bytes out(2048);
  for (uint32_t queue = 0; queue < kQueues; ++queue) {
    xdp_md context{};
    context.data_end = static_cast<uint32_t>(frame.size());
    context.ingress_ifindex = device.index();
    context.rx_queue_index = queue;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = out.data(),
                .data_size_in = context.data_end, .data_size_out = static_cast<uint32_t>(out.size()),
                .ctx_in = &context, .ctx_size_in = sizeof context, .repeat = 1);
    if (bpf_prog_test_run_opts(*first, &options) != 0) throw std::runtime_error("the run");
  }
  (*program)->sweep(0);
  std::vector<Seen> rows;
  for (uint32_t row = 0; row <= 4; ++row) {
    const WorkerCounters& counters = (*program)->counters(row);
    rows.push_back({counters.outcomes[LINIMO_OUTCOME_forwarded], counters.flows});
  }
  return rows;
}

TEST(Rows, QueuesBeyondThoseOfAnInterfaceShareTheSpareRow) {
  const auto rows = std::async(std::launch::async, run_on_all_queues).get();
  // Two queues have rows; the second interface's two stay untouched; the same flow, once stored in the spare
  // row, is found there.
  EXPECT_EQ(rows, (std::vector<Seen>{{1, 1}, {1, 1}, {0, 0}, {0, 0}, {2, 1}}));
}

}  // namespace
}  // namespace linimo::tests
