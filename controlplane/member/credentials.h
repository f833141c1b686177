// What [fleet] names files for: read once, when the process starts. Errors say which file and what to do.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <tl/expected.hpp>

#include "controlplane/config/config.h"
#include "controlplane/store/store.h"

namespace linimo {

/// A file that only its owner may read; without the line's end. `what`: it is, for messages.
tl::expected<std::string, std::string> read_secret(const std::filesystem::path& file,
                                                   const std::string& what);

/// As [fleet] says.
tl::expected<std::unique_ptr<ConfigStore>, std::string> make_store(boost::asio::io_context& io,
                                                                   const FleetConfig& fleet,
                                                                   const NodeConfig& node);

}  // namespace linimo
