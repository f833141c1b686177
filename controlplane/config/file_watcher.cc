#include "controlplane/config/file_watcher.h"

#include <fstream>
#include <iterator>
#include <string>

#include <boost/asio/buffer.hpp>
#include <sys/inotify.h>

#include "maglev/hash.h"

namespace linimo {
namespace {

constexpr std::chrono::milliseconds kSettleTime{50};
constexpr int kLooksForGone = 20;
constexpr uint64_t kGone = 0;  // a fingerprint

}  // namespace

FileWatcher::FileWatcher(boost::asio::io_context& io, std::filesystem::path file,
                         std::function<void()> on_change)
    : file_(std::move(file)),
      on_change_(std::move(on_change)),
      inotify_(io, inotify_init1(IN_CLOEXEC | IN_NONBLOCK)),
      timer_(io),
      last_(fingerprint()) {
  watch_folders();
  wait_for_events();
}

void FileWatcher::watch_folders() {
  const auto watch = [this](const std::filesystem::path& folder) {
    // Not IN_MODIFY: half a file is of no interest.
    inotify_add_watch(inotify_.native_handle(), folder.empty() ? "." : folder.c_str(),
                      IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ONLYDIR);
  };
  watch(file_.parent_path());
  std::error_code error;
  const auto real = std::filesystem::canonical(file_, error);
  if (!error && real.parent_path() != file_.parent_path()) watch(real.parent_path());
}

void FileWatcher::wait_for_events() {
  inotify_.async_read_some(boost::asio::buffer(events_),
                           [this](const boost::system::error_code& error, size_t) {
                             if (error) return;
                             // Which names the events carry does not matter: the content decides.
                             if (!awaiting_quiet_) await_quiet();
                             wait_for_events();
                           });
}

void FileWatcher::await_quiet() {
  awaiting_quiet_ = true;
  candidate_ = last_;
  looks_ = 0;
  look();
}

void FileWatcher::look() {
  timer_.expires_after(kSettleTime);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    watch_folders();  // a link may lead elsewhere now; watching a folder twice is watching it once
    const uint64_t now = fingerprint();
    looks_ = now == candidate_ ? looks_ + 1 : 0;
    candidate_ = now;
    const bool quiet = now == last_ || looks_ >= (now == kGone ? kLooksForGone : 1);
    if (!quiet) return look();
    awaiting_quiet_ = false;
    if (now == last_) return;
    last_ = now;
    on_change_();
  });
}

uint64_t FileWatcher::fingerprint() const {
  std::ifstream stream(file_, std::ios::binary);
  if (!stream) return kGone;
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace linimo
