// What is done to a node and its data plane as a whole. Each prints, and returns the exit code.
#pragma once

#include <chrono>
#include <string>

namespace linimo {

/// Returns once the data plane forwards by what has just been accepted. Where that takes longer than anyone
/// would wait without a word, says so: it will be in force as soon as it can.
int await_in_force(const std::string& socket, std::chrono::seconds patience = std::chrono::seconds(3));

/// With `wait` it returns when the node is drained: the routes' metric is raised, the routers had their time
/// to turn elsewhere, and nothing is announced any more.
int drain_node(const std::string& socket, bool wish, bool wait, bool as_json);

/// What a drain would withdraw, and how many flows would go elsewhere, as the node knows it; changes nothing.
int foresee_node_drain(const std::string& socket, bool as_json);

/// The data plane's own program knows what it left, and how to hand over: the one beside this, else the one
/// in PATH. Does not return, unless there is none.
int run_dataplane(const std::string& config, const char* order);

/// Routers turn elsewhere before the data plane hands over, and come back when the node forwards by what is
/// configured: also if it did not hand over, for then the one that runs goes on.
int upgrade_node(const std::string& socket, const std::string& config, bool as_json);

}  // namespace linimo
