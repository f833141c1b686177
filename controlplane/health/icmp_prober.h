// Checks by an ICMP echo request (RFC 792, RFC 4443, 4.1): the backend is up when the reply comes. It says
// that the host lives, and nothing of what it serves.
//
// By a ping socket where net.ipv4.ping_group_range lets this process have one, else by a raw socket, for
// which it needs CAP_NET_RAW.
#pragma once

#include <memory>

#include <boost/asio/io_context.hpp>

#include "controlplane/health/prober.h"

namespace linimo {

std::unique_ptr<Prober> make_icmp_prober(boost::asio::io_context& io);

}  // namespace linimo
