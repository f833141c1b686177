// Notices that a configuration file has changed, however it was changed: written in place, replaced by a
// rename, deleted and made again, or swapped behind a symbolic link.
#pragma once

#include <array>
#include <chrono>
#include <filesystem>
#include <functional>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

namespace linimo {

/// Watches the folder rather than the file: a rename puts another file in the old one's place. Calls back
/// only when the file's content differs from that of the last call (or of the beginning) and has not changed
/// for 50 ms. Editors move the old file away before they write the new one, so a file that is gone counts as
/// changed only after a second.
class FileWatcher {
 public:
  FileWatcher(boost::asio::io_context& io, std::filesystem::path file, std::function<void()> on_change);

 private:
  void watch_folders();
  void wait_for_events();
  void await_quiet();
  void look();
  uint64_t fingerprint() const;

  std::filesystem::path file_;
  std::function<void()> on_change_;
  boost::asio::posix::stream_descriptor inotify_;
  boost::asio::steady_timer timer_;
  bool awaiting_quiet_ = false;
  uint64_t last_;
  uint64_t candidate_ = 0;  // what the file was at the last look
  int looks_ = 0;           // that have found that
  std::array<std::byte, 4096> events_;
};

}  // namespace linimo
