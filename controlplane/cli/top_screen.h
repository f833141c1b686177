// linimo top at the terminal: samples, shows, and listens to keys, until somebody has seen enough.
#pragma once

#include <functional>
#include <string>

#include <tl/expected.hpp>

#include "controlplane/cli/top.h"

namespace CLI {
class App;
}

namespace linimo {

struct TopOptions {
  int interval_s = 2;
  bool once = false;

  CLI::App* add_to(CLI::App& app);
};

using TakeSample = std::function<tl::expected<TopSample, std::string>()>;

/// Shows screen after screen until q, Ctrl-C or the end of the input, and leaves the terminal as it was; once
/// and as plain text if that is asked for, or if the output is no terminal. The error says why there is
/// nothing to show.
tl::expected<void, std::string> run_top(const TopOptions& options, const TakeSample& sample);

}  // namespace linimo
