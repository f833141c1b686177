// The CLI's commands for a fleet: `linimo config apply`, `history`, `diff`, `rollback`, `export`; `linimo
// node list`; `linimo fleet status`, `accept`. All ask the control plane of the node that they run on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace linimo {

class FleetCommands {
 public:
  /// `config` and `node`: commands that get more of them.
  void add(CLI::App& app, CLI::App& config, CLI::App& node);
  /// The exit code; nothing: another command was given.
  std::optional<int> run(const std::string& socket, bool as_json);

 private:
  int apply();
  int foresee(const std::string& text, const std::string& file);
  int rollback();
  int history();
  int diff();
  int print_revision();
  int list_nodes();
  int status();
  int accept();
  int await_in_force(uint64_t revision);

  std::string socket_;
  bool json_ = false;
  std::string file_;
  std::optional<uint64_t> base_;
  bool dry_run_ = false;
  uint64_t number_ = 0;  // 0: the one in force
  uint64_t other_ = 0;
  CLI::App* apply_ = nullptr;
  CLI::App* rollback_ = nullptr;
  CLI::App* history_ = nullptr;
  CLI::App* diff_ = nullptr;
  CLI::App* export_ = nullptr;
  CLI::App* list_ = nullptr;
  CLI::App* status_ = nullptr;
  CLI::App* accept_ = nullptr;
};

}  // namespace linimo
