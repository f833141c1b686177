#include "controlplane/announce/bird_sessions.h"

#include <algorithm>
#include <array>
#include <iterator>

#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include "maglev/address.h"

namespace linimo {
namespace {

using boost::asio::local::stream_protocol;
using boost::system::error_code;

constexpr std::chrono::milliseconds kPeriod{1000};
constexpr std::chrono::milliseconds kPatience{2000};
constexpr size_t kMaxAnswer = size_t{256} * 1024;
constexpr size_t kMaxInfo = 160;

constexpr std::string_view kProtocols = "show protocols\n";
constexpr std::string_view kBfdSessions = "show bfd sessions\n";

/// BIRD's greeting ends in a line of code 0001, its answer in one of 0000, or of 8xxx or 9xxx for an error.
bool is_whole(std::string_view answer) {
  if (!answer.ends_with('\n')) return false;
  const size_t before = answer.substr(0, answer.size() - 1).rfind('\n');
  const std::string_view last = answer.substr(before == std::string_view::npos ? 0 : before + 1);
  return last.starts_with("0000") ||
         (last.size() > 4 && (last[0] == '8' || last[0] == '9') && last[4] == ' ');
}

std::string_view next_word(std::string_view& line) {
  const size_t begin = std::min(line.find_first_not_of(' '), line.size());
  const size_t end = std::min(line.find(' ', begin), line.size());
  const std::string_view word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

/// What BIRD says of a session stands behind a time of one word or two.
std::string info_of(std::string_view rest) {
  constexpr std::string_view kStates[] = {"Idle",        "Connect", "Active",  "OpenSent", "OpenConfirm",
                                          "Established", "Close",   "Passive", "Down"};
  for (std::string_view line = rest; !line.empty();) {
    const std::string_view from_here = line;
    const std::string_view word = next_word(line);
    if (std::find(std::begin(kStates), std::end(kStates), word) == std::end(kStates)) continue;
    std::string_view info = from_here.substr(from_here.find(word));
    info = info.substr(0, std::min(info.find_last_not_of(' ') + 1, kMaxInfo));
    return std::string(info);
  }
  return {};
}

/// The lines of one code; the first of those that follow each other has it, the others a space in its place.
std::vector<std::string_view> lines_of(std::string_view answer, std::string_view code) {
  std::vector<std::string_view> lines;
  bool in_list = false;
  while (!answer.empty()) {
    std::string_view line = answer.substr(0, answer.find('\n'));
    answer.remove_prefix(std::min(line.size() + 1, answer.size()));
    const bool begins = line.starts_with(code) && line.size() > code.size() &&
                        (line[code.size()] == '-' || line[code.size()] == ' ');
    in_list = begins || (in_list && line.starts_with(' '));
    if (begins) line.remove_prefix(code.size() + 1);
    if (in_list) lines.push_back(line);
  }
  return lines;
}

}  // namespace

std::vector<BgpSession> read_protocols(std::string_view answer) {
  std::vector<BgpSession> sessions;
  for (std::string_view line : lines_of(answer, "1002")) {
    BgpSession session;
    session.protocol = next_word(line);
    if (next_word(line) != "BGP" || sessions.size() == kMaxSessions) continue;
    (void)next_word(line);  // its table
    (void)next_word(line);  // up, down, start: of the protocol, not of the session
    session.info = info_of(line);
    session.up = session.info.starts_with("Established");
    sessions.push_back(std::move(session));
  }
  return sessions;
}

std::vector<BfdSession> read_bfd_sessions(std::string_view answer) {
  std::vector<BfdSession> sessions;
  for (std::string_view line : lines_of(answer, "1020")) {
    BfdSession session;
    session.neighbor = next_word(line);
    if (!Address::parse(session.neighbor) || sessions.size() == kMaxSessions) continue;  // a heading
    session.interface = next_word(line);
    session.state = next_word(line);
    session.up = session.state == "Up";
    sessions.push_back(std::move(session));
  }
  return sessions;
}

std::string unheard_by_bfd(const BirdState& bird) {
  std::string unheard;
  if (!std::ranges::all_of(bird.sessions, &BgpSession::up)) return unheard;
  for (const BfdSession& session : bird.bfd) {
    if (session.up) continue;
    unheard += fmt::format("{}{} on {}: {}", unheard.empty() ? "" : ", ", session.neighbor, session.interface,
                           session.state);
  }
  return unheard;
}

/// Both questions, over a connection of their own: nothing of an earlier one can be mistaken for an answer.
struct BirdSessions::Inquiry : std::enable_shared_from_this<Inquiry> {
  Inquiry(boost::asio::io_context& io, BirdSessions& asker) : owner(&asker), socket(io), limit(io) {}

  void start(const std::string& path) {
    limit.expires_after(kPatience);
    limit.async_wait([self = shared_from_this()](const error_code& error) {
      if (!error) self->fail("BIRD does not answer");
    });
    socket.async_connect(stream_protocol::endpoint(path),
                         [self = shared_from_this()](const error_code& error) {
                           error ? self->fail(error.message()) : self->ask(kProtocols);
                         });
  }

  void ask(std::string_view question) {
    answer.clear();
    boost::asio::async_write(socket, boost::asio::buffer(question),
                             [self = shared_from_this(), question](const error_code& error, size_t) {
                               error ? self->fail(error.message()) : self->read(question);
                             });
  }

  void read(std::string_view question) {
    socket.async_read_some(boost::asio::buffer(chunk),
                           [self = shared_from_this(), question](const error_code& error, size_t length) {
                             if (error) return self->fail(error.message());
                             self->answer.append(self->chunk.data(), length);
                             if (is_whole(self->answer)) return self->on_answer(question);
                             if (self->answer.size() > kMaxAnswer)
                               return self->fail("the answer has no end: is this BIRD?");
                             self->read(question);
                           });
  }

  void on_answer(std::string_view question) {
    if (question == kProtocols) {
      told.sessions = read_protocols(answer);
      return ask(kBfdSessions);
    }
    told.bfd = read_bfd_sessions(answer);
    told.error.clear();
    end(std::move(told));
  }

  void fail(std::string why) { end({std::move(why), {}, {}}); }

  void end(BirdState state) {
    BirdSessions* const asker = std::exchange(owner, nullptr);
    limit.cancel();
    error_code ignored;
    socket.close(ignored);
    if (asker != nullptr) asker->learn(std::move(state));
  }

  BirdSessions* owner;  // none: it is over, or nobody wants to know any more
  stream_protocol::socket socket;
  boost::asio::steady_timer limit;
  std::array<char, 4096> chunk;
  std::string answer;
  BirdState told;
};

BirdSessions::BirdSessions(boost::asio::io_context& io, std::function<void()> on_change)
    : io_(io), on_change_(std::move(on_change)), next_(io) {}

BirdSessions::~BirdSessions() {
  follow({});
}

void BirdSessions::follow(const std::filesystem::path& socket) {
  if (socket == socket_) return;
  socket_ = socket;
  state_ = {};
  if (const auto inquiry = std::move(inquiry_)) {
    inquiry->owner = nullptr;
    inquiry->end({});
  }
  next_.cancel();
  if (!socket_.empty()) ask();
}

void BirdSessions::ask() {
  inquiry_ = std::make_shared<Inquiry>(io_, *this);
  inquiry_->start(socket_.string());
}

void BirdSessions::learn(BirdState state) {
  inquiry_.reset();
  next_.expires_after(kPeriod);
  next_.async_wait([this](const error_code& error) {
    if (!error) ask();
  });
  if (state == state_) return;
  state_ = std::move(state);
  on_change_();
}

}  // namespace linimo
