#include "controlplane/config_trial.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "controlplane/log.h"
#include "maglev/config/toml_reader.h"
#include "maglev/state_file.h"

namespace linimo {
namespace {

constexpr size_t kMostBytes = 16 << 20;  // that a configuration may have
constexpr std::string_view kBlanks = " \t";

std::optional<std::string> read_back(const std::filesystem::path& file) {
  auto text = read_state_file(file, kMostBytes);
  return text ? *text : std::nullopt;
}

/// The string that a line gives to a key; nothing if it is another key's, or no plain string.
std::optional<std::string> value_in(std::string_view line, std::string_view key) {
  const auto skip_blanks = [&] {
    line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  };
  skip_blanks();
  if (!line.starts_with(key)) return std::nullopt;
  line.remove_prefix(key.size());
  skip_blanks();
  if (!line.starts_with('=')) return std::nullopt;
  line.remove_prefix(1);
  skip_blanks();
  if (line.empty() || (line.front() != '"' && line.front() != '\'')) return std::nullopt;
  const size_t end = line.find(line.front(), 1);
  if (end == std::string_view::npos) return std::nullopt;
  return std::string(line.substr(1, end - 1));
}

}  // namespace

ConfigTrial::ConfigTrial(ConfigTrial&& other) noexcept
    : folder_(std::move(other.folder_)), under_way_(std::exchange(other.under_way_, false)) {}

ConfigTrial& ConfigTrial::operator=(ConfigTrial&& other) noexcept {
  if (this == &other) return *this;
  drop();
  folder_ = std::move(other.folder_);
  under_way_ = std::exchange(other.under_way_, false);
  return *this;
}

/// Who else can write there could put another configuration in the place of this one.
bool ConfigTrial::is_usable() const {
  std::error_code unknown;
  return !folder_.empty() && std::filesystem::is_directory(folder_, unknown) && make_own_folder(folder_);
}

void ConfigTrial::begin(std::string_view text) {
  if (under_way_ || !is_usable() || last_good() == text) return;
  const auto noted = write_state_file(trying(), text, Outlives::kPowerCut);
  under_way_ = noted.has_value();
  if (!noted)
    log_warning("should the process die by this configuration, the next one will, too",
                {{"why", noted.error()}});
}

void ConfigTrial::drop() {
  std::error_code ignored;
  if (std::exchange(under_way_, false)) std::filesystem::remove(trying(), ignored);
}

void ConfigTrial::pass() {
  if (!std::exchange(under_way_, false)) return;
  std::error_code error;
  std::filesystem::rename(trying(), good(), error);
  if (error) log_warning("this configuration is not kept as the last good one", {{"why", error.message()}});
}

bool ConfigTrial::died_on(std::string_view text) const {
  return is_usable() && read_back(trying()) == text;
}

std::optional<std::string> ConfigTrial::last_good() const {
  return is_usable() ? read_back(good()) : std::nullopt;
}

std::filesystem::path state_dir_named_in(std::string_view text) {
  std::filesystem::path runtime_dir = NodeConfig().runtime_dir;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (const auto named = value_in(line, "state_dir")) return *named;
    if (const auto named = value_in(line, "runtime_dir")) runtime_dir = *named;
  }
  return usual_state_dir(runtime_dir);
}

StartConfig load_at_start(const std::filesystem::path& file) {
  StartConfig start{tl::unexpected(std::string()), {}, {}, {}};
  auto text = read_config_text(file);
  if (!text) {
    start.config = tl::unexpected(text.error());
    return start;
  }
  start.text = std::move(*text);
  start.trial = ConfigTrial(state_dir_named_in(start.text));
  if (start.trial.died_on(start.text)) {
    start.complaint = fmt::format("{}: the process died when it loaded this", file.string());
    if (const auto good = start.trial.last_good()) {
      start.complaint += "; the last good configuration is in force until the file changes, or is reloaded";
      start.config = load_config_text(*good, file);
    } else {
      start.config = tl::unexpected(fmt::format("{}; change it, or remove {} to try it once more",
                                                start.complaint, start.trial.trying().string()));
    }
    return start;
  }
  start.trial.begin(start.text);
  start.config = load_config_text(start.text, file);
  if (!start.config)
    start.trial.drop();
  else if (start.config->node.state_dir != state_dir_named_in(start.text))
    start.trial = ConfigTrial(start.config->node.state_dir);
  return start;
}

}  // namespace linimo
