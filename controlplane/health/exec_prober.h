// Checks by a program that the machine's administrator has put into a folder (kChecksFolder): the backend is
// up when it exits with 0. It is started as
//
//   /etc/linimo/checks.d/NAME ADDRESS PORT
//
// without a shell, by a helper that has none of this process's rights (check_helper.h), with no way to more,
// in an empty environment and a session of its own. It has until the timeout; then its process group is
// killed. What it writes is bounded, the first line of it is the detail of a failure. A program that moves
// away from its process group would outlive that: such a program is the administrator's own doing.
#pragma once

#include <filesystem>
#include <memory>

#include <boost/asio/io_context.hpp>

#include "controlplane/health/prober.h"

namespace linimo {

/// `socket`, `helper`: CheckHelper's.
std::unique_ptr<Prober> make_exec_prober(boost::asio::io_context& io, std::filesystem::path folder,
                                         std::filesystem::path socket, std::filesystem::path helper);

}  // namespace linimo
