// The control plane's side of linimo-checks (controlplane/checks/): programs run by a process without its
// rights.
//
// Where a socket of that name answers when the first check is made, it is systemd's, whose helper has a user
// of its own. Else this starts a helper that listens there, again whenever it has ended, and ends it with
// itself.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "maglev/unique_fd.h"

namespace linimo {

class CheckHelper {
 public:
  /// `program`: linimo-checks.
  CheckHelper(std::filesystem::path socket, std::filesystem::path program);
  ~CheckHelper();
  CheckHelper(const CheckHelper&) = delete;
  CheckHelper& operator=(const CheckHelper&) = delete;

  struct Run {
    UniqueFd answers;  // CheckAnswer messages; closing it ends the program
    UniqueFd output;   // standard output and error, not blocking
  };
  /// Has argv[0], a path, started. The error is this machine's own: nothing is said of the program.
  tl::expected<Run, std::string> run(const std::vector<std::string>& argv);

 private:
  tl::expected<UniqueFd, std::string> connected();
  tl::expected<void, std::string> start();
  void end();

  std::filesystem::path socket_;
  std::filesystem::path program_;
  bool known_ = false;  // whose helper it is
  bool own_ = false;
  int pid_ = -1;
  UniqueFd lifeline_;
};

/// Where it is installed, and built: beside the program that runs.
std::filesystem::path checks_program();

}  // namespace linimo
