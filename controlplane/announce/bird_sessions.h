// Asks BIRD over its control socket how its BGP and BFD sessions are, again and again.
//
//   BirdSessions bird(io, [] { ... });          // called when the answer is another than before
//   bird.follow("/run/bird/bird.ctl");
//   bird.state().sessions
//
// What stands behind the socket need not be BIRD: an answer is limited in size and in time, and lines that
// are not understood are left out. Lives on the event loop's thread.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace linimo {

struct BgpSession {
  std::string protocol;  // its name in BIRD's configuration
  bool up = false;       // established
  std::string info;      // BIRD's words: "Established", "Active        Socket: Connection refused"

  bool operator==(const BgpSession&) const = default;
};

/// RFC 5880: whether the way to a neighbour works, known within milliseconds.
struct BfdSession {
  std::string neighbor;  // its address
  std::string interface;
  bool up = false;
  std::string state;  // BIRD's word: "Up", "Down", "Init", "AdminDown"

  bool operator==(const BfdSession&) const = default;
};

struct BirdState {
  std::string error = "not asked yet";  // why nothing is known; empty: it answered
  std::vector<BgpSession> sessions;     // as BIRD lists them, the first kMaxSessions
  std::vector<BfdSession> bfd;          // the same

  bool operator==(const BirdState&) const = default;
};
inline constexpr size_t kMaxSessions = 256;

/// Out of what BIRD 2 answers to `show protocols`.
std::vector<BgpSession> read_protocols(std::string_view answer);
/// The same to `show bfd sessions`.
std::vector<BfdSession> read_bfd_sessions(std::string_view answer);

/// Neighbours that BFD does not hear though every BGP session is up, in words; empty: none. A router whose
/// BGP session is down is missed already.
std::string unheard_by_bfd(const BirdState& bird);

class BirdSessions {
 public:
  BirdSessions(boost::asio::io_context& io, std::function<void()> on_change);
  ~BirdSessions();

  /// From now on that socket; an empty path: none.
  void follow(const std::filesystem::path& socket);

  const BirdState& state() const { return state_; }

 private:
  struct Inquiry;

  void ask();
  void learn(BirdState state);

  boost::asio::io_context& io_;
  std::function<void()> on_change_;
  std::filesystem::path socket_;
  boost::asio::steady_timer next_;
  std::shared_ptr<Inquiry> inquiry_;
  BirdState state_;
};

}  // namespace linimo
