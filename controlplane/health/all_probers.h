// Every kind of check behind one Prober.
#pragma once

#include <memory>

#include <boost/asio/io_context.hpp>

#include "controlplane/health/prober.h"

namespace linimo {

/// Must outlive the probes that it started.
std::unique_ptr<Prober> make_all_probers(boost::asio::io_context& io);

}  // namespace linimo
