// linimo doctor: gathers what a diagnosis needs (diagnosis.h), from the control plane, the kernel, BIRD and
// the backends themselves.
#pragma once

#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "controlplane/cli/diagnosis.h"
#include "controlplane/cli/trace.h"

namespace linimo {

/// Takes a few seconds. The error says why nothing could be asked.
tl::expected<Facts, std::string> gather_facts(const FetchPath& fetch, const nlohmann::json& backends);

std::string render_findings(const std::vector<Finding>& findings);
nlohmann::json findings_json(const std::vector<Finding>& findings);

}  // namespace linimo
