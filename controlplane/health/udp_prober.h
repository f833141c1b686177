// Checks by a datagram: the backend is up when the answer has in it what is expected. Where nothing is
// expected, silence will do, and only a refusal (ICMP unreachable: nobody listens, no way there) is a
// failure.
#pragma once

#include <memory>

#include <boost/asio/io_context.hpp>

#include "controlplane/health/prober.h"

namespace linimo {

std::unique_ptr<Prober> make_udp_prober(boost::asio::io_context& io);

}  // namespace linimo
