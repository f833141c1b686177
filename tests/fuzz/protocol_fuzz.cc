// The data plane's socket, attacked by everyone who may open it: any packets, with any descriptors, from
// several connections at once. The server is the real one; only the engine behind it is replaced by one that
// just validates.
//
// An input is a script: one byte of operation and connection, one of length, then that many bytes.

#include <cstdlib>
#include <filesystem>
#include <map>

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "dataplane/link/counters_memory.h"
#include "dataplane/link/server.h"
#include "maglev/os/memfd.h"
#include "tests/unit/temporary_folder.h"
#include "tests/unit/validating_engine.h"

using namespace linimo;

namespace {

/// Sockets, and copies of what attackers pass on. The fuzzer itself opens and keeps others, pipes to its
/// symbolizer for example.
size_t open_descriptors() {
  struct stat passed {};
  fstat(STDIN_FILENO, &passed);
  size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) {
    struct stat one {};
    if (fstat(fd, &one) != 0) continue;
    count += S_ISSOCK(one.st_mode) || (one.st_dev == passed.st_dev && one.st_ino == passed.st_ino) ? 1 : 0;
  }
  return count;
}

class Attackers {
 public:
  static constexpr size_t kMostCopies = 8;  // more than the server takes

  explicit Attackers(std::filesystem::path path) : path_(std::move(path)) {}

  void connect(uint8_t which) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path_.native().copy(address.sun_path, sizeof address.sun_path - 1);
    UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0)
      sockets_[which] = std::move(fd);
  }

  void send(uint8_t which, std::span<const std::byte> bytes, int descriptor, size_t copies = 1) {
    if (!sockets_.contains(which)) connect(which);
    iovec part{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(kMostCopies * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (descriptor >= 0) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(copies * sizeof(int));
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(copies * sizeof(int));
      for (size_t i = 0; i < copies; ++i)
        std::memcpy(CMSG_DATA(header) + i * sizeof descriptor, &descriptor, sizeof descriptor);
    }
    sendmsg(sockets_[which].get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  }

  void leave(uint8_t which) { sockets_.erase(which); }
  void leave_all() { sockets_.clear(); }

 private:
  std::filesystem::path path_;
  std::map<uint8_t, UniqueFd> sockets_;
};

struct World {
  World() { spdlog::set_level(spdlog::level::off); }
  TemporaryFolder folder;
  EventLoop loop;
  ValidatingEngine engine;
  CountersMemory counters{1};
  Attackers attackers{folder.path() / "dataplane.sock"};
  ConditionBoard board;
  Reports reports{board};
  LinkServer server{loop,    folder.path() / "dataplane.sock", engine, {"dpdk", "fuzz", counters.fd()},
                    reports, [](const SnapshotView&) {}};

  void serve_what_is_ready() {
    for (int i = 0; i < 4; ++i) loop.run_once(std::chrono::milliseconds(0));
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World world;
  for (size_t at = 0; at + 2 <= size;) {
    const uint8_t which = data[at] >> 4 & 3;
    const size_t length = std::min<size_t>(data[at + 1], size - at - 2);
    const auto bytes = std::as_bytes(std::span(data + at + 2, length));
    protocol::Publish publish;
    publish.generation = 1;
    if (length >= 8) std::memcpy(&publish.generation, bytes.data(), 8);
    switch (data[at] & 15) {
      case 0:
        world.attackers.connect(which);
        break;
      case 1:
        world.attackers.leave(which);
        break;
      case 2:
        world.board.set("carrier", "eth0", length % 2 == 0 ? ConditionState::kHolds : ConditionState::kFails);
        world.attackers.send(
            which, protocol::encode(protocol::Hello{.features = static_cast<uint32_t>(length % 4 / 2)}), -1);
        break;
      case 3:
        world.attackers.send(which, protocol::encode(publish), make_sealed_memfd("snapshot", bytes)->get());
        break;
      case 4:
        world.attackers.send(which, protocol::encode(publish), STDIN_FILENO);
        break;
      case 5:
        world.attackers.send(which, protocol::encode(publish), -1);
        break;
      case 7: {
        world.engine.ready = length % 4 != 3;  // answers what waits for it, or keeps others waiting
        protocol::Trace trace;
        trace.length = static_cast<uint16_t>(length * 257);  // more than there are, too
        std::memcpy(trace.frame, bytes.data(), bytes.size());
        if (length % 3 == 0) trace.interface[0] = 'e';
        world.attackers.send(which, protocol::encode(trace), -1);
        break;
      }
      case 8: {
        protocol::FindFlows find;
        auto* fields = reinterpret_cast<std::byte*>(&find) + offsetof(protocol::FindFlows, number);
        std::copy_n(bytes.begin(), std::min(length, sizeof find - sizeof find.type), fields);
        world.attackers.send(which, protocol::encode(find), -1);
        break;
      }
      case 9: {  // a filter of any steps, with a socket to send to, or without
        protocol::Capture capture;
        capture.snap = 1 + static_cast<uint32_t>(length);
        capture.rate = 10;
        capture.steps = static_cast<uint32_t>(length / sizeof(protocol::FilterStep));
        std::memcpy(capture.filter, bytes.data(), capture.steps * sizeof(protocol::FilterStep));
        if (length % 8 == 7) capture.steps = ~0U;
        world.engine.ready = length % 5 != 4;
        int ends[2] = {-1, -1};
        if (length % 8 != 6 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) abort();
        world.attackers.send(which, protocol::encode(capture), ends[0]);
        world.serve_what_is_ready();
        for (const int end : ends) {
          if (end >= 0) close(end);
        }
        break;
      }
      case 6:  // any message, an empty one too, with descriptors that nobody has asked for
        world.attackers.send(which, bytes, STDIN_FILENO, 1 + length % Attackers::kMostCopies);
        break;
      default:
        world.attackers.send(which, bytes, -1);
        break;
    }
    world.serve_what_is_ready();
    at += 2 + length;
  }
  world.attackers.leave_all();
  world.engine.ready = true;
  for (int i = 0; i < 4; ++i) world.serve_what_is_ready();
  static const size_t descriptors = open_descriptors();  // after the first input, with nobody connected
  if (open_descriptors() > descriptors) {
    fprintf(stderr, "descriptors that came with messages are left open\n");
    abort();
  }
  return 0;
}
