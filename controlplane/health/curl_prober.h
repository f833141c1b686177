// The checks that libcurl performs: http, tls, https, grpc. Each on a connection of its own: one that is
// kept open would say nothing about whether a new client can still connect.
#pragma once

#include <memory>

#include <boost/asio/io_context.hpp>

#include "controlplane/health/prober.h"

namespace linimo {

/// Must outlive the probes that it started.
std::unique_ptr<Prober> make_curl_prober(boost::asio::io_context& io);

}  // namespace linimo
