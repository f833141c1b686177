#include "dataplane/link/server.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include "dataplane/link/sealed_file.h"
#include "maglev/os/flow_words.h"
#include "maglev/os/memfd.h"
#include "maglev/os/peer.h"
#include "maglev/os/seqpacket.h"

namespace linimo {
namespace {

constexpr size_t kMaxPeers = 8;
constexpr size_t kMostUnanswered = 64;  // while the engine loads what answers them
// Nobody publishes so often. Without a limit one mistake could use up all generations, for good: they never
// go back, and the last one is kept on disk.
constexpr uint64_t kLongestStep = 1ULL << 32;
constexpr uint64_t kLongestFirstStep = 1ULL
                                       << 63;  // the control plane may have come far before this one started
constexpr auto kHelloLimit = std::chrono::seconds(2);
constexpr auto kReportPeriod = std::chrono::milliseconds(50);
constexpr size_t kMostWords = size_t{4} * protocol::FlowWords::kMost;  // told of at a time: 10,000 a second
constexpr auto kSilenceLimit = std::chrono::seconds(3);

}  // namespace

LinkServer::LinkServer(EventLoop& loop, std::filesystem::path socket_path, EngineBase& engine,
                       Identity identity, Reports& reports, OnAccepted on_accepted)
    : loop_(loop),
      path_(std::move(socket_path)),
      engine_(engine),
      identity_(std::move(identity)),
      reports_(reports),
      on_accepted_(std::move(on_accepted)),
      listener_(listen_seqpacket(path_, kMaxPeers)) {
  accept_again();
  loop_.every(std::chrono::milliseconds(500), [this] {
    drop_silent_peers();
    accept_again();
    log_what_was_kept_out();
  });
  loop_.every(kReportPeriod, [this] {
    reports_.flush();
    tell_of_flows();
    answer_the_unanswered();
  });
  loop_.every(protocol::kHeartbeatPeriod, [this] { reports_.beat(); });
  engine_.on_waiting([this] { reports_.beat(); });
}

LinkServer::~LinkServer() {
  engine_.on_waiting([] {});
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

void LinkServer::accept_peer() {
  UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) stop_accepting();
  if (!fd) return;
  const auto credentials = peer_of(fd.get());
  if (!credentials) return;
  peers_.push_front({.fd = std::move(fd), .pid = credentials->pid, .since = Clock::now()});
  const PeerAt peer = peers_.begin();
  if (credentials->uid != 0 && credentials->uid != geteuid()) {
    const std::string reason = fmt::format("user {} may not control this data plane", credentials->uid);
    log(kTurnedAway, fmt::format("refused pid {}: {}", peer->pid, reason));
    refuse(*peer, 0, reason);
    hang_up(peer->fd.get());
    peers_.erase(peer);
    return;
  }
  make_room();
  loop_.add(peer->fd.get(), [this, peer] { read_from(peer); });
}

/// Who waits stays in the kernel's queue; to ask for it again at once would burn the whole CPU.
void LinkServer::stop_accepting() {
  log(kTurnedAway, fmt::format("no connection accepted for a while: {}", std::strerror(errno)));
  loop_.remove(listener_.get());
  accepting_ = false;
}

void LinkServer::accept_again() {
  if (std::exchange(accepting_, true)) return;
  loop_.add(listener_.get(), [this] { accept_peer(); });
}

void LinkServer::read_from(PeerAt peer) {
  // One byte more than any message has, so that one that is cut short is none.
  auto message = receive_message(peer->fd.get(), protocol::kMaxMessageSize + 1);
  if (message && !*message) return;
  if (!message) {
    if (peer->controller)
      log(kGone, fmt::format("the control plane (pid {}) has gone; forwarding goes on", peer->pid));
    disconnect(peer);
    return;
  }
  if (!peer->controller && upgrade_ && protocol::decode<protocol::Upgrade>((*message)->bytes)) {
    loop_.remove(peer->fd.get());
    UniqueFd asker = std::move(peer->fd);
    peers_.erase(peer);
    return upgrade_(std::move(asker));
  }
  if (!handle(*peer, (*message)->bytes, (*message)->fds)) disconnect(peer);
}

void LinkServer::tell_of_hand_over(std::chrono::milliseconds limit) {
  protocol::HandOver message;
  message.limit_ms = static_cast<uint32_t>(limit.count());
  for (const Peer& peer : peers_) {
    if (peer.hand_overs) (void)send_message(peer.fd.get(), protocol::encode(message));
  }
}

bool LinkServer::handle(Peer& peer, std::span<const std::byte> packet, std::span<UniqueFd> descriptors) {
  if (!peer.controller) {
    const auto hello = protocol::decode<protocol::Hello>(packet);
    return hello ? greet(peer, *hello) : refuse(peer, 0, "expected a hello");
  }
  peer.heard = Clock::now();
  if (protocol::decode<protocol::Heartbeat>(packet)) return true;
  if (const auto asked = protocol::decode<protocol::Trace>(packet))
    return answer_when(
        peer, [this] { return engine_.ready_to_trace(); },
        [this, &peer, asked] {
          return send_message(peer.fd.get(), protocol::encode(answer(engine_, *asked, say_route_)))
              .has_value();
        });
  if (const auto asked = protocol::decode<protocol::FindFlows>(packet))
    return send_message(peer.fd.get(), protocol::encode(answer(engine_, *asked))).has_value();
  if (const auto asked = protocol::decode<protocol::Capture>(packet))
    return capture(peer, *asked, descriptors);
  if (const auto told = protocol::decode<protocol::FlowWords>(packet)) {
    engine_.hear(told->view());
    return true;
  }
  const auto message = protocol::decode<protocol::Publish>(packet);
  return message ? publish(peer, *message, descriptors) : refuse(peer, 0, "expected a snapshot to publish");
}

bool LinkServer::greet(Peer& peer, const protocol::Hello& hello) {
  for (const Peer& other : peers_) {
    if (other.controller)
      return refuse(peer, 0, fmt::format("pid {} controls this data plane already", other.pid));
  }
  if (hello.abi_oldest > LINIMO_ABI_VERSION || hello.abi_newest < LINIMO_ABI_VERSION) {
    return refuse(peer, 0,
                  fmt::format("ABI versions {} to {} are offered; this data plane reads {}", hello.abi_oldest,
                              hello.abi_newest, LINIMO_ABI_VERSION));
  }
  protocol::Welcome welcome;
  welcome.abi = LINIMO_ABI_VERSION;
  welcome.pid = static_cast<uint32_t>(getpid());
  welcome.workers = engine_.workers();
  welcome.restored = restored_ ? 1 : 0;
  welcome.live_s = static_cast<uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - live_since_).count());
  welcome.features =
      protocol::kReports | protocol::kTraces | protocol::kFlows | protocol::kCaptures | protocol::kSharing;
  protocol::set_text(welcome.engine, identity_.engine);
  protocol::set_text(welcome.engine_reason, identity_.engine_reason);
  std::vector<int> descriptors = {identity_.counters_fd};
  UniqueFd shown;
  if (const auto live = engine_.live()) {
    welcome.generation = live->header().generation;
    auto snapshot = make_sealed_memfd("linimo-snapshot", live->bytes());
    if (!snapshot) return refuse(peer, 0, "no memory to show what is live: " + snapshot.error());
    shown = std::move(*snapshot);
    descriptors.push_back(shown.get());
  }
  peer.controller = send_message(peer.fd.get(), protocol::encode(welcome), descriptors).has_value();
  if (peer.controller)
    log(kGreeted,
        fmt::format("pid {} is the control plane; generation {} is live", peer.pid, welcome.generation));
  peer.hand_overs = (hello.features & protocol::kHandOvers) != 0;
  peer.shares = peer.controller && (hello.features & protocol::kSharing) != 0;
  if (!peer.controller || (hello.features & protocol::kReports) == 0) return peer.controller;
  peer.beats = true;
  peer.heard = Clock::now();
  reports_.begin([fd = peer.fd.get()](auto message) { return send_message(fd, message).has_value(); });
  return true;
}

bool LinkServer::publish(Peer& peer, const protocol::Publish& message,
                         std::span<const UniqueFd> descriptors) {
  const auto no = [&](const std::string& reason) {
    log(kRefusedGeneration, fmt::format("generation {} refused: {}", message.generation, reason));
    return refuse(peer, message.generation, reason);
  };
  if (descriptors.size() != 1)
    return no(fmt::format("{} descriptors came with it, expected 1", descriptors.size()));
  const auto file = SealedFile::map(descriptors.front().get());
  if (!file) return no(file.error());
  uint64_t generation = 0;
  std::memcpy(&generation, file->bytes().data() + offsetof(linimo_header, generation), sizeof generation);
  if (generation != message.generation) return no("message and snapshot name different generations");
  const auto live = engine_.live();
  if (live && generation <= live->header().generation)
    return no(fmt::format("generation {} is live already", live->header().generation));
  if (generation - (live ? live->header().generation : 0) > (live ? kLongestStep : kLongestFirstStep))
    return no(fmt::format("generation {} is too far ahead", generation));
  const auto started = Clock::now();
  if (auto published = engine_.publish(file->bytes()); !published) return no(published.error());
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - started);
  spdlog::info("generation {} is live: {} bytes, taken by all workers in {} us", generation,
               file->bytes().size(), took.count());
  set_live(false, Clock::now());
  protocol::Accepted accepted;
  accepted.generation = generation;
  const bool sent = send_message(peer.fd.get(), protocol::encode(accepted)).has_value();
  on_accepted_(*engine_.live());
  return sent;
}

/// Once `ready` says so. What cannot be sent then, reading from that peer will notice.
bool LinkServer::answer_when(const Peer& peer, std::function<bool()> ready, std::function<bool()> answer) {
  if (ready()) return answer();
  if (unanswered_.size() >= kMostUnanswered) return false;
  unanswered_.push_back({&peer, std::move(ready), std::move(answer)});
  return true;
}

void LinkServer::answer_the_unanswered() {
  std::erase_if(unanswered_,
                [](const Question& question) { return question.ready() && (question.answer(), true); });
}

bool LinkServer::capture(const Peer& peer, const protocol::Capture& message,
                         std::span<UniqueFd> descriptors) {
  if (const auto begins = begin_capture(message, descriptors); !begins)
    return answer_capture(peer, message.number, begins.error());
  return answer_when(
      peer, [this] { return !capture_->loading(); },
      [this, &peer, number = message.number] { return answer_capture(peer, number, capture_->ended()); });
}

bool LinkServer::answer_capture(const Peer& peer, uint32_t number, const std::string& error) {
  protocol::Capturing answer;
  answer.number = number;
  protocol::set_text(answer.error, error);
  const auto interfaces = engine_.interfaces();
  for (size_t i = 0; error.empty() && i < std::min(interfaces.size(), std::size(answer.interfaces)); ++i)
    protocol::set_text(answer.interfaces[i], interfaces[i].first);
  return send_message(peer.fd.get(), protocol::encode(answer)).has_value();
}

tl::expected<void, std::string> LinkServer::begin_capture(const protocol::Capture& message,
                                                          std::span<UniqueFd> descriptors) {
  pump_capture();  // one whose reader has gone is over
  if (capture_) return tl::unexpected<std::string>("another capture is under way: one at a time");
  if (descriptors.size() != 1 || !is_packet_socket(descriptors.front().get()))
    return tl::unexpected<std::string>("one socket of type SOCK_SEQPACKET is to come with a capture");
  if (message.snap == 0 || message.snap > LINIMO_CAPTURE_SNAP)
    return tl::unexpected(fmt::format("{} bytes of each frame: 1 to {}", message.snap, LINIMO_CAPTURE_SNAP));
  if (message.rate < 10 || message.rate > LINIMO_CAPTURE_RATE)
    return tl::unexpected(fmt::format("{} packets a second: 10 to {}", message.rate, LINIMO_CAPTURE_RATE));
  if (message.steps > protocol::kMostFilterSteps)
    return tl::unexpected(fmt::format("a filter has at most {} steps", protocol::kMostFilterSteps));
  auto filter = Filter::of({message.filter, message.steps});
  if (!filter) return tl::unexpected(filter.error());
  auto begun = engine_.capture({std::move(*filter), message.snap, message.rate});
  if (!begun) return tl::unexpected(begun.error());
  try {
    capture_timer_ = loop_.every(CaptureSession::kPeriod, [this] { pump_capture(); });
  } catch (const std::system_error& error) {
    return tl::unexpected(fmt::format("no timer for a capture: {}", error.code().message()));
  }
  capture_.emplace(std::move(descriptors.front()), std::move(*begun));
  loop_.add(capture_->socket(), [this] { pump_capture(); });
  log(kCapture, "a capture has begun");
  return {};
}

void LinkServer::pump_capture() {
  if (!capture_) return;
  answer_the_unanswered();  // first: who asked for it learns how it began
  if (capture_->pump()) return;
  log(kCapture,
      fmt::format("the capture has ended: {} packets, {} missed", capture_->sent(), capture_->missed()));
  loop_.end(capture_timer_);
  loop_.remove(capture_->socket());
  capture_.reset();
}

/// What workers have to say waits while nobody would carry it; what the socket does not take is lost.
void LinkServer::tell_of_flows() {
  const auto controller = std::ranges::find_if(peers_, [](const Peer& peer) { return peer.shares; });
  if (controller == peers_.end()) return;
  send_flow_words(controller->fd.get(), engine_.words_to_tell(kMostWords));
}

/// Says why not. True when the connection may go on: a refused snapshot is no reason to part.
bool LinkServer::refuse(const Peer& peer, uint64_t generation, std::string_view reason) {
  protocol::Refused refused;
  refused.generation = generation;
  protocol::set_text(refused.reason, reason);
  return send_message(peer.fd.get(), protocol::encode(refused)).has_value() && generation != 0;
}

void LinkServer::disconnect(PeerAt peer) {
  loop_.remove(peer->fd.get());
  hang_up(peer->fd.get());
  if (peer->controller) {
    controller_gone_ = Clock::now();
    reports_.end();
  }
  std::erase_if(unanswered_, [&](const Question& question) { return question.asker == &*peer; });
  peers_.erase(peer);
}

std::optional<LinkServer::Clock::time_point> LinkServer::controller_gone_since() const {
  const auto controller =
      std::find_if(peers_.begin(), peers_.end(), [](const Peer& peer) { return peer.controller; });
  if (controller == peers_.end()) return controller_gone_;
  const bool silent = controller->beats && Clock::now() - controller->heard > kSilenceLimit;
  return silent ? std::optional(controller->heard) : std::nullopt;
}

void LinkServer::drop_silent_peers() {
  const auto now = Clock::now();
  for (PeerAt peer = peers_.begin(); peer != peers_.end();) {
    const PeerAt current = peer++;
    if (current->controller || now - current->since < kHelloLimit) continue;
    log(kSilent, fmt::format("pid {} connected and said nothing; cut off", current->pid));
    disconnect(current);
  }
}

/// When there are too many, who has said nothing for longest gives way to who has just come: a crowd that
/// says nothing keeps no control plane out. Nor does one that grows: in each round of the loop one more comes
/// in, and all that have said something are read.
void LinkServer::make_room() {
  if (peers_.size() <= kMaxPeers) return;
  const auto oldest =
      std::find_if(peers_.rbegin(), peers_.rend(), [](const Peer& peer) { return !peer.controller; });
  log(kTurnedAway, fmt::format("pid {} said nothing and gave way: too many connections", oldest->pid));
  refuse(*oldest, 0, "too many connections");
  disconnect(std::prev(oldest.base()));
}

void LinkServer::log(Event event, const std::string& text) {
  const auto kept_out = log_limits_[event].pass(Clock::now());
  if (!kept_out) return;
  const auto level = event == kGreeted || event == kCapture ? spdlog::level::info : spdlog::level::warn;
  const std::string others = *kept_out == 0 ? "" : fmt::format(" ({} more like it before)", *kept_out);
  spdlog::log(level, "link: {}{}", text, others);
}

void LinkServer::log_what_was_kept_out() {
  static constexpr std::array<const char*, kEventCount> kEvents = {
      "connections turned away", "silent connections cut off", "control planes let in",
      "control planes gone",     "generations refused",        "captures begun and ended"};
  for (int event = 0; event < kEventCount; ++event) {
    const uint64_t count = log_limits_[event].overdue(Clock::now());
    if (count != 0) spdlog::warn("link: {} more {} meanwhile", count, kEvents[event]);
  }
}

}  // namespace linimo
