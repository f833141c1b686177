// A capture as server-sent events, one for each packet (trace/capture_view.h has what is in it), and each
// second or with the first packet that was missed:
//
//   event: tally
//   data: {"missed":17}
//
// The data plane writes into a socket of which the reader's connection has the other end: when the reader
// goes, so does the socket, and the capture ends. What the reader does not take in time the data plane
// misses, and counts.
//
// Lives on the serving thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "controlplane/http/http_server.h"
#include "controlplane/trace/id_names.h"
#include "maglev/unique_fd.h"

namespace linimo {

/// Names ids (IdNames::name_by) on the thread that knows what they stand for, and calls back on this one.
using NameIds = std::function<void(IdNames names, std::function<void(IdNames)> done)>;

/// `from`: where the data plane's messages come. `interfaces`: by port.
std::shared_ptr<HttpStream> make_capture_feed(boost::asio::io_context& serving, UniqueFd from,
                                              std::vector<std::string> interfaces, NameIds name_ids);

}  // namespace linimo
