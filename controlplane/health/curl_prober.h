// Health checks by libcurl: any number at once on the event loop's thread, none of them blocking it.
#pragma once

#include <memory>

#include <boost/asio/io_context.hpp>

#include "controlplane/health/prober.h"

namespace linimo {

/// Must outlive the probes that it started.
std::unique_ptr<Prober> make_curl_prober(boost::asio::io_context& io);

}  // namespace linimo
