#include "controlplane/service_reports.h"

#include <fmt/format.h>

namespace linimo {
namespace {

constexpr std::chrono::milliseconds kPeriod{250};

}  // namespace

void ServiceReports::look() {
  if (controller_.up_to_date() || Clock::now() - start_ > kReadyBy) manager_.ready();
  const Serving& serving = controller_.watch().serving();
  manager_.look(true, service_status(controller_.live_generation(), controller_.connected(),
                                     serving.serves ? "" : serving.why));
  timer_.expires_after(kPeriod);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) look();
  });
}

std::string service_status(uint64_t generation, bool connected, const std::string& why_not) {
  if (!connected) return "waits for the data plane";
  const std::string tables = generation == 0 ? "no generation yet" : fmt::format("generation {}", generation);
  return why_not.empty() ? fmt::format("{}, serves", tables)
                         : fmt::format("{}, does not serve: {}", tables, why_not);
}

}  // namespace linimo
