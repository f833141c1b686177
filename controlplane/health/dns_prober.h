// Checks by a DNS query over UDP (RFC 1035), by c-ares: the backend is up when it answers with a record of
// the asked type, among them the expected address if there is one.
#pragma once

#include <memory>

#include <boost/asio/io_context.hpp>

#include "controlplane/health/prober.h"

namespace linimo {

std::unique_ptr<Prober> make_dns_prober(boost::asio::io_context& io);

}  // namespace linimo
