// Every kind of check behind one Prober.
#pragma once

#include <filesystem>
#include <memory>

#include <boost/asio/io_context.hpp>

#include "controlplane/health/prober.h"

namespace linimo {

/// Must outlive the probes that it started. The helper that runs programs listens in the runtime folder.
std::unique_ptr<Prober> make_all_probers(boost::asio::io_context& io,
                                         const std::filesystem::path& runtime_dir);

}  // namespace linimo
