#include "controlplane/tables/dataplane_link.h"

#include <algorithm>
#include <utility>

#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include "maglev/os/flow_words.h"
#include "maglev/os/memfd.h"
#include "maglev/protocol.h"

namespace linimo {
namespace {

constexpr size_t kMostQuestions = 16;

}  // namespace

DataplaneLink::DataplaneLink(boost::asio::io_context& io, std::filesystem::path socket, Observer& observer)
    : DataplaneLink(io, std::move(socket), observer, Limits{}) {}

DataplaneLink::DataplaneLink(boost::asio::io_context& io, std::filesystem::path socket, Observer& observer,
                             Limits limits)
    : io_(io),
      path_(std::move(socket)),
      observer_(observer),
      limits_(limits),
      retry_(limits.first_retry),
      socket_(io),
      timer_(io),
      heartbeat_(io) {}

void DataplaneLink::start() {
  boost::asio::post(io_, [this] { connect(); });
}

void DataplaneLink::connect() {
  auto fd = connect_seqpacket(path_);
  if (!fd) return lose(fmt::format("{}: {}", path_.string(), fd.error()));
  socket_.assign(fd->release());
  phase_ = Phase::kGreeting;
  ++connection_;
  protocol::Hello hello;
  hello.features = protocol::kReports | protocol::kHandOvers | protocol::kSharing;
  if (auto sent = send_message(socket_.native_handle(), protocol::encode(hello)); !sent)
    return lose(sent.error());
  limit(limits_.welcome, "no welcome");
  wait_for_message();
}

void DataplaneLink::publish(uint64_t generation, std::span<const std::byte> snapshot) {
  phase_ = Phase::kPublishing;
  publishing_ = generation;
  protocol::Publish message;
  message.generation = generation;
  const auto memory = memory_.sealed_with(snapshot);
  const int fd = memory ? memory->get() : -1;
  const auto sent = memory ? send_message(socket_.native_handle(), protocol::encode(message), {&fd, 1})
                           : tl::unexpected(memory.error());
  if (!sent) {
    // Not from within this call: the caller expects its answer later.
    boost::asio::post(io_, [this, error = sent.error(), connection = connection_] {
      if (connection == connection_) lose(error);
    });
    return;
  }
  limit(limits_.answer, fmt::format("no answer to generation {}", generation));
}

void DataplaneLink::limit(std::chrono::milliseconds time, std::string what) {
  timer_.expires_after(time);
  timer_.async_wait([this, time, what = std::move(what), connection = connection_,
                     phase = phase_](const boost::system::error_code& error) {
    if (error || connection != connection_ || phase != phase_ ||
        timer_.expiry() > std::chrono::steady_clock::now()) {
      return;
    }
    lose(fmt::format("{} within {} ms", what, time.count()));
  });
}

void DataplaneLink::wait_for_message() {
  socket_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                     [this, connection = connection_](const boost::system::error_code& error) {
                       if (!error && connection == connection_ && phase_ != Phase::kAway) on_readable();
                     });
}

void DataplaneLink::on_readable() {
  // One message at a time, so that a peer that floods cannot keep this thread to itself.
  auto message = receive_message(socket_.native_handle(), protocol::kMaxMessageSize);
  if (!message) return lose(message.error());
  const uint64_t connection = connection_;
  if (*message && (*message)->oversized) return lose("an oversized message");
  if (*message) on_message(std::move(**message));
  if (connection == connection_ && phase_ != Phase::kAway) wait_for_message();
}

void DataplaneLink::on_message(Message message) {
  if (const auto refused = protocol::decode<protocol::Refused>(message.bytes);
      refused && refused->generation == 0) {
    return lose(fmt::format("refused by the data plane: {}", protocol::text_of(refused->reason)));
  }
  if (take_report(message)) return;
  switch (phase_) {
    case Phase::kGreeting:
      return on_welcome(std::move(message));
    case Phase::kPublishing:
      return on_answer(message);
    default:
      return lose("a message that nothing asked for");
  }
}

/// What comes of the data plane's own accord, at any time once it has been greeted.
bool DataplaneLink::take_report(const Message& message) {
  if (phase_ != Phase::kReady && phase_ != Phase::kPublishing) return false;
  if (protocol::decode<protocol::Heartbeat>(message.bytes)) {
    observer_.on_heartbeat();
  } else if (const auto hand_over = protocol::decode<protocol::HandOver>(message.bytes)) {
    observer_.on_hand_over(std::chrono::milliseconds(hand_over->limit_ms));
  } else if (const auto hops = protocol::decode<protocol::NextHops>(message.bytes)) {
    observer_.on_next_hops(hops->first_id, hops->states);
  } else if (const auto condition = protocol::decode<protocol::Condition>(message.bytes)) {
    ConditionReport report;
    report.name = protocol::text_of(condition->name);
    report.subject = protocol::text_of(condition->subject);
    report.watched = condition->watched != 0;
    if (condition->state <= static_cast<uint8_t>(ConditionState::kFails))
      report.state = static_cast<ConditionState>(condition->state);
    report.device = protocol::text_of(condition->device);
    report.evidence = protocol::text_of(condition->evidence);
    report.mend = protocol::text_of(condition->mend);
    observer_.on_condition(report);
  } else if (const auto words = protocol::decode<protocol::FlowWords>(message.bytes)) {
    observer_.on_flow_words(words->view());
  } else if (const auto traced = protocol::decode<protocol::Traced>(message.bytes)) {
    on_traced(*traced);
  } else if (const auto found = protocol::decode<protocol::FoundFlows>(message.bytes)) {
    on_found(*found);
  } else if (const auto capturing = protocol::decode<protocol::Capturing>(message.bytes)) {
    on_capturing(*capturing);
  } else {
    return false;
  }
  return true;
}

/// A heartbeat that the socket does not take is none: whoever does not read has other worries.
void DataplaneLink::beat() {
  heartbeat_.expires_after(protocol::kHeartbeatPeriod);
  heartbeat_.async_wait([this, connection = connection_](const boost::system::error_code& error) {
    if (!error && connection == connection_ && phase_ != Phase::kAway) beat();
  });
  protocol::Heartbeat heartbeat;
  heartbeat.sequence = ++beat_;
  (void)send_message(socket_.native_handle(), protocol::encode(heartbeat));
}

void DataplaneLink::on_welcome(Message message) {
  const auto welcome = protocol::decode<protocol::Welcome>(message.bytes);
  if (!welcome) return lose("a message that is no welcome");
  if (welcome->abi != LINIMO_ABI_VERSION) return lose(fmt::format("ABI {} was not offered", welcome->abi));
  if (message.fds.size() != (welcome->generation != 0 ? 2U : 1U)) {
    return lose(fmt::format("a welcome with {} descriptors", message.fds.size()));
  }
  DataplanePeer peer{.pid = welcome->pid,
                     .abi = welcome->abi,
                     .workers = welcome->workers,
                     .restored = welcome->restored != 0,
                     .generation = welcome->generation,
                     .live_for = std::chrono::seconds(welcome->live_s),
                     .engine = std::string(protocol::text_of(welcome->engine)),
                     .engine_reason = std::string(protocol::text_of(welcome->engine_reason)),
                     .reports = (welcome->features & protocol::kReports) != 0,
                     .snapshot_error = {}};
  LiveTables live;
  if (welcome->generation != 0) {
    auto read = copy_of_file(message.fds[1].get(), LINIMO_MAX_SNAPSHOT_BYTES).and_then([](auto bytes) {
      return read_live_tables(std::move(bytes));
    });
    if (read && read->generation != welcome->generation) {
      read =
          tl::unexpected(fmt::format("generation {} instead of {}", read->generation, welcome->generation));
    }
    if (read) {
      live = std::move(*read);
    } else {
      peer.snapshot_error = read.error();
    }
  }
  live.generation = welcome->generation;
  peer.traces = traces_ = (welcome->features & protocol::kTraces) != 0;
  peer.flows = flows_ = (welcome->features & protocol::kFlows) != 0;
  peer.captures = captures_ = (welcome->features & protocol::kCaptures) != 0;
  shares_ = (welcome->features & protocol::kSharing) != 0;
  timer_.cancel();
  retry_ = limits_.first_retry;
  phase_ = Phase::kReady;
  if (peer.reports) beat();
  observer_.on_connected(peer, std::move(live), CountersView::map(message.fds[0].get()));
}

void DataplaneLink::on_answer(const Message& message) {
  const auto accepted = protocol::decode<protocol::Accepted>(message.bytes);
  const auto refused = protocol::decode<protocol::Refused>(message.bytes);
  const uint64_t generation = accepted ? accepted->generation : refused ? refused->generation : 0;
  if (generation != publishing_) return lose(fmt::format("no answer to generation {}", publishing_));
  timer_.cancel();
  phase_ = Phase::kReady;
  if (accepted) {
    observer_.on_accepted(generation);
  } else {
    observer_.on_refused(generation, std::string(protocol::text_of(refused->reason)));
  }
}

template <typename Question, typename Answer>
void DataplaneLink::ask(Question& question, std::map<uint32_t, OnAnswer<Answer>>& asked,
                        OnAnswer<Answer> done, std::span<const int> descriptors) {
  if (asked.size() >= kMostQuestions) return done(tl::unexpected(std::string("too many questions at once")));
  question.number = ++last_question_;
  if (auto sent = send_message(socket_.native_handle(), protocol::encode(question), descriptors); !sent)
    return done(tl::unexpected(sent.error()));
  asked.emplace(question.number, std::move(done));
}

/// Why the data plane cannot be asked; nothing: it can.
std::optional<std::string> DataplaneLink::cannot_ask(bool knows_how, const char* what) const {
  if (phase_ != Phase::kReady && phase_ != Phase::kPublishing) return "no data plane is connected";
  if (knows_how) return std::nullopt;
  return fmt::format("the data plane is older than this and {}: systemctl restart linimo-dataplane", what);
}

void DataplaneLink::trace(protocol::Trace question, OnTraced done) {
  if (auto why = cannot_ask(traces_, "traces nothing")) return done(tl::unexpected(*why));
  ask(question, asked_, std::move(done));
}

void DataplaneLink::find_flows(protocol::FindFlows question, OnFlows done) {
  if (auto why = cannot_ask(flows_, "does not say which flows it tracks")) return done(tl::unexpected(*why));
  ask(question, asked_for_flows_, std::move(done));
}

void DataplaneLink::capture(protocol::Capture question, UniqueFd into, OnCapturing done) {
  if (auto why = cannot_ask(captures_, "captures nothing")) return done(tl::unexpected(*why));
  const int descriptor = into.get();
  ask(question, asked_to_capture_, std::move(done), {&descriptor, 1});
}

void DataplaneLink::tell(std::span<const linimo_flow_word> words) {
  if (shares_ && (phase_ == Phase::kReady || phase_ == Phase::kPublishing))
    send_flow_words(socket_.native_handle(), words);
}

/// To who asked; an answer that nobody asked for has no taker.
template <typename Answer>
void DataplaneLink::pass_on(std::map<uint32_t, OnAnswer<Answer>>& asked, const Answer& answer) {
  const auto found = asked.extract(answer.number);
  if (found.empty()) return;
  const auto error = protocol::text_of(answer.error);
  if (error.empty())
    found.mapped()(answer);
  else
    found.mapped()(tl::unexpected(std::string(error)));
}

void DataplaneLink::on_traced(const protocol::Traced& answer) {
  pass_on(asked_, answer);
}

void DataplaneLink::on_found(const protocol::FoundFlows& answer) {
  const auto found = asked_for_flows_.extract(answer.number);
  if (!found.empty()) found.mapped()(answer);
}

void DataplaneLink::on_capturing(const protocol::Capturing& answer) {
  pass_on(asked_to_capture_, answer);
}

void DataplaneLink::lose(const std::string& reason) {
  phase_ = Phase::kAway;
  for (const auto& [number, done] : std::exchange(asked_, {})) done(tl::unexpected(reason));
  for (const auto& [number, done] : std::exchange(asked_for_flows_, {})) done(tl::unexpected(reason));
  for (const auto& [number, done] : std::exchange(asked_to_capture_, {})) done(tl::unexpected(reason));
  ++connection_;
  boost::system::error_code ignored;
  socket_.close(ignored);
  heartbeat_.cancel();
  timer_.expires_after(retry_);
  timer_.async_wait([this, connection = connection_](const boost::system::error_code& error) {
    if (!error && connection == connection_ && phase_ == Phase::kAway) connect();
  });
  retry_ = std::min(retry_ * 2, limits_.last_retry);
  observer_.on_lost(reason);
}

}  // namespace linimo
