// What keeps a configuration by which the process dies from being its death again and again: each one is on
// trial from before it is read until it is in force. A process that dies meanwhile leaves a mark, and the
// next one starts with the last configuration that passed.
//
//   auto loaded = load_at_start("/etc/linimo/linimo.toml");
//   ... loaded.trial.begin(text); load; loaded.trial.drop() if it is refused, .pass() once it is in force ...
//
// On disk, in `[node] state_dir`: `config.trying` is the text on trial, `config.good` the last one that
// passed; the one becomes the other by being renamed, so that there is never half of one. One thread.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "controlplane/config/config.h"

namespace linimo {

class ConfigTrial {
 public:
  ConfigTrial() = default;  // notes nothing
  explicit ConfigTrial(std::filesystem::path folder) : folder_(std::move(folder)) {}
  ConfigTrial(ConfigTrial&& other) noexcept;
  ConfigTrial& operator=(ConfigTrial&& other) noexcept;
  /// An end that is none by this text.
  ~ConfigTrial() { drop(); }

  /// Nothing is written for what has passed before. What cannot be noted is logged, and goes on without.
  void begin(std::string_view text);
  /// It was refused: no reason to fear it.
  void drop();
  void pass();

  /// A process died while this text was on trial.
  bool died_on(std::string_view text) const;
  std::optional<std::string> last_good() const;
  std::filesystem::path trying() const { return folder_ / "config.trying"; }

 private:
  bool is_usable() const;
  std::filesystem::path good() const { return folder_ / "config.good"; }

  std::filesystem::path folder_;
  bool under_way_ = false;
};

/// Where `[node] state_dir` or `runtime_dir` put it, by the look of their lines alone: this text may be one
/// that must not be parsed.
std::filesystem::path state_dir_named_in(std::string_view text);

struct StartConfig {
  tl::expected<Config, std::string> config;
  ConfigTrial trial;
  std::string text;       // of the file, which is on trial
  std::string complaint;  // why the last good one was taken instead; empty: it was not
};
StartConfig load_at_start(const std::filesystem::path& file);

}  // namespace linimo
