// linimo doctor: gathers what a diagnosis needs (diagnosis.h), from the control plane, the kernel, BIRD, real
// packets, the LAN, other nodes and the backends themselves.
#pragma once

#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "controlplane/cli/diagnosis.h"
#include "controlplane/cli/trace.h"

namespace CLI {
class App;
}

namespace linimo {

struct DoctorOptions {
  bool script = false;             // print what to run on a backend instead
  double seconds = 2;              // how long to watch counters and packets
  std::vector<std::string> peers;  // commands that print another node's status

  CLI::App* add_to(CLI::App& app);
};

/// Takes as long as it is to watch, and a moment more. `socket`: the control plane's. The error says why
/// nothing could be asked.
tl::expected<Facts, std::string> gather_facts(const std::string& socket, const DoctorOptions& options,
                                              const FetchPath& fetch, const nlohmann::json& backends);

std::string render_findings(const std::vector<Finding>& findings);
nlohmann::json findings_json(const std::vector<Finding>& findings);

}  // namespace linimo
