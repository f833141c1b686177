// A data plane for tests: speaks maglev/protocol.h over a real socket, well or badly as told.
//
// It does nothing by itself: a test calls `poll` while it waits, so everything happens in one thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "maglev/condition.h"
#include "maglev/counters.h"
#include "maglev/os/memfd.h"
#include "maglev/os/seqpacket.h"
#include "maglev/protocol.h"

namespace linimo {

class FakeDataplane {
 public:
  enum class Manner {
    kWell,
    kRefuse,
    kSilent,   // answers nothing
    kGarbage,  // answers with bytes that are no message
    kFlood,    // answers, and then goes on and on
    kLeave,    // closes the connection
  };

  explicit FakeDataplane(const std::filesystem::path& path) : path_(path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    unlink(path.c_str());
    listener_.reset(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener_.get(), 4) != 0) {
      throw std::runtime_error("the fake data plane cannot listen");
    }
  }
  ~FakeDataplane() { unlink(path_.c_str()); }

  Manner greeting = Manner::kWell;
  Manner manner = Manner::kWell;
  protocol::Welcome welcome{.abi = LINIMO_ABI_VERSION, .pid = 4711, .workers = 2};
  std::vector<std::byte> live;  // read back by a controller when `welcome.generation` is not 0
  bool with_counters = true;
  std::string device;  // where it says that announcements point; empty: it reports nothing
  std::function<void(WorkerCounters&)> count = [](WorkerCounters&) {};  // fills the counters of a connection

  std::vector<std::vector<std::byte>> published;
  int seals = 0;        // of the last snapshot
  int connections = 0;  // accepted so far
  int heartbeats = 0;   // received
  std::vector<protocol::Trace> asked;
  std::vector<protocol::FindFlows> asked_for_flows;
  std::vector<std::pair<protocol::Capture, UniqueFd>> asked_to_capture;
  std::vector<uint64_t> told;  // the hashes of flows, by FlowWords

  void poll() {
    if (const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); fd >= 0) {
      peer_.reset(fd);
      reports_ = false;
      ++connections;
    }
    if (!peer_) return;
    beat();
    auto message = receive_message(peer_.get(), protocol::kMaxMessageSize);
    if (!message) return peer_.reset();
    if (!*message) return;
    if (protocol::decode<protocol::Hello>((*message)->bytes)) on_hello();
    if (protocol::decode<protocol::Heartbeat>((*message)->bytes)) ++heartbeats;
    if (const auto trace = protocol::decode<protocol::Trace>((*message)->bytes)) asked.push_back(*trace);
    if (const auto find = protocol::decode<protocol::FindFlows>((*message)->bytes))
      asked_for_flows.push_back(*find);
    if (const auto capture = protocol::decode<protocol::Capture>((*message)->bytes);
        capture && (*message)->fds.size() == 1)
      asked_to_capture.emplace_back(*capture, std::move((*message)->fds.front()));
    if (const auto words = protocol::decode<protocol::FlowWords>((*message)->bytes)) {
      for (const linimo_flow_word& word : words->view()) told.push_back(word.hash);
    }
    if (const auto publish = protocol::decode<protocol::Publish>((*message)->bytes))
      on_publish(*publish, **message);
  }

  void drop() { peer_.reset(); }

  template <typename Message>
  void send(const Message& message) {
    (void)send_message(peer_.get(), protocol::encode(message));
  }

 private:
  void on_hello() {
    if (misbehave(greeting)) return;
    reports_ = !device.empty();
    if (reports_) welcome.features |= protocol::kReports;
    std::vector<UniqueFd> fds;
    if (with_counters) fds.push_back(counters());
    if (welcome.generation != 0) fds.push_back(std::move(*make_sealed_memfd("live", live)));
    send_with(protocol::encode(welcome), fds);
    if (!reports_) return;
    protocol::Condition condition;
    condition.state = static_cast<uint8_t>(ConditionState::kHolds);
    protocol::set_text(condition.name, "interface-present");
    protocol::set_text(condition.subject, device);
    protocol::set_text(condition.device, device);
    send(condition);
  }

  /// The first says that all is told.
  void beat() {
    const auto now = std::chrono::steady_clock::now();
    if (!reports_ || now < next_beat_) return;
    next_beat_ = now + protocol::kHeartbeatPeriod / 4;
    send(protocol::Heartbeat{});
  }

  void on_publish(const protocol::Publish& publish, const Message& message) {
    seals = fcntl(message.fds.at(0).get(), F_GET_SEALS);
    published.push_back(*copy_of_file(message.fds[0].get(), LINIMO_MAX_SNAPSHOT_BYTES));
    if (misbehave(manner)) return;
    live = published.back();
    welcome.generation = publish.generation;
    protocol::Accepted accepted;
    accepted.generation = publish.generation;
    send(accepted);
    for (int i = 0; manner == Manner::kFlood && i < 100; ++i) send(accepted);
  }

  bool misbehave(Manner how) {
    protocol::Refused refused;
    switch (how) {
      case Manner::kWell:
      case Manner::kFlood:
        return false;
      case Manner::kRefuse:
        refused.generation = how == greeting ? 0 : welcome.generation + 1;
        protocol::set_text(refused.reason, "not today");
        send(refused);
        return true;
      case Manner::kGarbage:
        (void)send_message(peer_.get(), std::as_bytes(std::span("garbage, and \xff not text")));
        return true;
      case Manner::kLeave:
        drop();
        return true;
      case Manner::kSilent:
        return true;
    }
    return true;
  }

  UniqueFd counters() const {
    UniqueFd fd(memfd_create("counters", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    const size_t size = counters_size(1);
    if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0 ||
        fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK) != 0)
      throw std::runtime_error("counters");
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (memory == MAP_FAILED) throw std::runtime_error("counters");
    auto& block = *static_cast<CountersBlock*>(memory);
    block.magic = kCountersMagic;
    block.abi_version = LINIMO_ABI_VERSION;
    block.workers = 1;
    count(block.worker(0));
    munmap(memory, size);
    return fd;
  }

  void send_with(std::span<const std::byte> message, const std::vector<UniqueFd>& fds) {
    std::vector<int> numbers;
    for (const UniqueFd& fd : fds) numbers.push_back(fd.get());
    (void)send_message(peer_.get(), message, numbers);
  }

  std::filesystem::path path_;
  UniqueFd listener_;
  UniqueFd peer_;
  bool reports_ = false;
  std::chrono::steady_clock::time_point next_beat_{};
};

/// Runs the loop, and `meanwhile` beside it, until the condition holds; false when it does not within 5 s.
inline bool run_until(
    boost::asio::io_context& io, const std::function<bool()>& condition,
    const std::function<void()>& meanwhile = [] {}) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    meanwhile();
    io.restart();
    io.run_for(std::chrono::milliseconds(1));
  }
  return true;
}

/// The same for a time rather than a condition.
inline void run_for(
    boost::asio::io_context& io, std::chrono::milliseconds time,
    const std::function<void()>& meanwhile = [] {}) {
  const auto end = std::chrono::steady_clock::now() + time;
  run_until(
      io, [&] { return std::chrono::steady_clock::now() > end; }, meanwhile);
}

}  // namespace linimo
