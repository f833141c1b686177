// A store that is a file of this machine: for a node that is alone and wants numbered revisions all the same.
// Leases end with the process, as the keys under them do. Written whole with each transaction; the event
// loop's thread.
#pragma once

#include <filesystem>
#include <memory>

#include <boost/asio/io_context.hpp>
#include <tl/expected.hpp>

#include "controlplane/store/store.h"

namespace linimo {

/// The error says why the file cannot be used; a missing one is an empty store.
tl::expected<std::unique_ptr<ConfigStore>, std::string> make_file_store(boost::asio::io_context& io,
                                                                        const std::filesystem::path& file);

}  // namespace linimo
