// Checks by a TCP connection: the backend is up when it opens. It is closed at once, and nothing is sent.
#pragma once

#include <memory>

#include <boost/asio/io_context.hpp>

#include "controlplane/health/prober.h"

namespace linimo {

std::unique_ptr<Prober> make_tcp_prober(boost::asio::io_context& io);

}  // namespace linimo
