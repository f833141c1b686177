#include "controlplane/cli/top_screen.h"

#include <cerrno>
#include <csignal>
#include <optional>
#include <thread>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

namespace linimo {
namespace {

constexpr std::string_view kEnter = "\033[?1049h\033[?25l";  // another screen, no cursor
constexpr std::string_view kLeave = "\033[?25h\033[?1049l";
constexpr std::string_view kHome = "\033[H", kRestOfLine = "\033[K\r\n", kRestOfScreen = "\033[J";

void put(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno != EINTR) return;
    text.remove_prefix(written < 0 ? 0 : static_cast<size_t>(written));
  }
}

/// Raw while it lives. A signal that ends the process puts the terminal back first, at any moment: the
/// handler calls nothing that may not be called there.
class Terminal {
 public:
  Terminal() {
    const bool known = tcgetattr(STDIN_FILENO, &saved_) == 0;
    raw_ = known;
    struct sigaction action {};
    action.sa_handler = [](int number) {
      restore();
      if (number == SIGINT) _exit(0);
      raise(number);  // by then as it is by default
    };
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaction(number, &action, nullptr);
    action.sa_handler = [](int) {};  // a resize ends the wait for keys
    action.sa_flags = 0;
    sigaction(SIGWINCH, &action, nullptr);
    if (raw_) {
      termios raw = saved_;
      raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      raw.c_cc[VSUSP] = _POSIX_VDISABLE;
      tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    put(kEnter);
  }
  ~Terminal() { restore(); }
  Terminal(const Terminal&) = delete;

  static std::pair<size_t, size_t> size() {
    winsize size{};
    const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0 && size.ws_row != 0;
    return known ? std::pair<size_t, size_t>(size.ws_col, size.ws_row) : std::pair<size_t, size_t>(80, 24);
  }

 private:
  static void restore() {
    put(kLeave);
    if (raw_) tcsetattr(STDIN_FILENO, TCSANOW, &saved_);
  }

  inline static termios saved_{};
  inline static bool raw_ = false;  // and there is something to put back
};

/// The screen's lines over those that are there. The last has no end, which would scroll.
std::string over(std::string_view text) {
  std::string screen(kHome);
  while (!text.empty()) {
    const size_t end = text.find('\n');
    screen += text.substr(0, end);
    text.remove_prefix(end + 1);
    screen += text.empty() ? kRestOfLine.substr(0, 3) : kRestOfLine;
  }
  return screen + std::string(kRestOfScreen);
}

enum class Event { kQuit, kRedraw, kTime };

/// Until a key that changes something, a resize, or the time for another sample.
Event await(std::chrono::steady_clock::time_point until, TopSort& sort, int& interval_s) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) return Event::kTime;
    pollfd keys{STDIN_FILENO, POLLIN, 0};
    const int ready = poll(&keys, 1, static_cast<int>(left.count()));
    if (ready < 0) return errno == EINTR ? Event::kRedraw : Event::kQuit;
    if (ready == 0) continue;
    char key = 0;
    const ssize_t got = read(STDIN_FILENO, &key, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || key == 'q' || key == 'Q') return Event::kQuit;
    if (key >= '1' && key <= '9') {
      interval_s = key - '0';
      return Event::kRedraw;
    }
    if (key == ' ') return Event::kTime;
    if (key != 's') continue;
    sort = static_cast<TopSort>((static_cast<int>(sort) + 1) % kTopSorts);
    return Event::kRedraw;
  }
}

}  // namespace

CLI::App* TopOptions::add_to(CLI::App& app) {
  auto* command = app.add_subcommand(
      "top", "rates per service and backend, workers, drops and health, over and over; q ends it");
  command->add_option("--interval", interval_s, "seconds between two screens")
      ->check(CLI::Range(1, 60))
      ->capture_default_str();
  command->add_flag("--once", once, "one interval's rates as plain text");
  return command;
}

tl::expected<void, std::string> run_top(const TopOptions& options, const TakeSample& sample) {
  auto before = sample();
  if (!before) return tl::unexpected(before.error());
  const bool once = options.once || isatty(STDOUT_FILENO) == 0;
  if (once) std::this_thread::sleep_for(std::chrono::seconds(options.interval_s));
  auto now = once ? sample() : before;
  if (!now) return tl::unexpected(now.error());
  if (once) {
    put(render_top(*before, *now, {.columns = 200, .lines = 0, .hint = {}}));
    return {};
  }
  const Terminal terminal;
  int interval_s = options.interval_s;
  TopSort sort = TopSort::kPackets;
  std::string trouble;
  for (auto asked = now->at;;) {
    const auto [columns, lines] = Terminal::size();
    const std::string hint =
        fmt::format("by {}, every {} s (keys: q s 1-9)", top_sort_name(sort), interval_s);
    const std::string told = trouble.substr(0, columns);
    std::string screen =
        render_top(*before, *now,
                   {.columns = columns, .lines = lines - (told.empty() ? 0 : 1), .sort = sort, .hint = hint});
    if (!told.empty()) screen += told + '\n';
    put(over(screen));
    const Event event = await(asked + std::chrono::seconds(interval_s), sort, interval_s);
    if (event == Event::kQuit) return {};
    if (event == Event::kRedraw) continue;
    asked = std::chrono::steady_clock::now();
    auto next = sample();
    trouble = next ? "" : next.error();
    if (next) before = std::exchange(now, std::move(next));
  }
}

}  // namespace linimo
