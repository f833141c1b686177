#include "controlplane/cli/fleet.h"

#include <charconv>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/cli/client.h"
#include "controlplane/cli/dry_run.h"
#include "controlplane/cli/text_table.h"
#include "maglev/program.h"
#include "maglev/unique_fd.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kPatience{20};
constexpr std::string_view kHeader = "# revision ";  // what `config export` begins with

/// The revision that an exported file says it is; its line is blanked, so that others keep their numbers.
std::optional<uint64_t> take_base(std::string& text) {
  if (!text.starts_with(kHeader)) return std::nullopt;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data() + kHeader.size(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.erase(0, text.find('\n'));
  return number;
}

tl::expected<std::string, std::string> text_of_file(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream && !stream.eof()) return tl::unexpected(fmt::format("{} cannot be read", file));
  if (!stream.is_open()) return tl::unexpected(fmt::format("{} cannot be opened", file));
  return text;
}

/// A file of no folder, for a program that wants a path.
UniqueFd file_of(const std::string& text) {
  UniqueFd fd(memfd_create("revision", 0));
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t more = write(fd.get(), text.data() + written, text.size() - written);
    if (more <= 0) break;
    written += static_cast<size_t>(more);
  }
  return fd;
}

}  // namespace

void FleetCommands::add(CLI::App& app, CLI::App& config, CLI::App& node) {
  apply_ = config.add_subcommand("apply", "make pools and services of a file the fleet's configuration");
  apply_->add_option("FILE", file_, "what belongs to a node in it ([node], [fleet], ...) is passed over")
      ->required();
  apply_->add_option("--base", base_,
                     "the revision that the file was made from (default: as `export` noted in it)");
  apply_->add_flag("--dry-run", dry_run_, kDryRunHelp);
  history_ = config.add_subcommand("history", "the fleet's revisions, by whom and what they changed");
  diff_ = config.add_subcommand("diff", "what is different between two revisions");
  diff_->add_option("A", number_, "a revision")->required();
  diff_->add_option("B", other_, "another one")->required();
  rollback_ = config.add_subcommand("rollback", "make an earlier revision the newest again");
  rollback_->add_option("N", number_, "the revision")->required();
  rollback_->add_flag("--dry-run", dry_run_, kDryRunHelp);
  export_ = config.add_subcommand("export", "print a revision as a file that can be applied");
  export_->add_option("N", number_, "the revision (default: the one in force)");
  list_ = node.add_subcommand("list", "the fleet's nodes: tables, announcements, when they were heard");
  auto* fleet = app.add_subcommand("fleet", "the fleet that this node belongs to")->require_subcommand(1);
  status_ = fleet->add_subcommand("status", "whether all nodes agree; exit code 1: they do not");
  accept_ =
      fleet->add_subcommand("accept", "after the store was emptied or restored: what it holds now counts");
  fleet->fallthrough();
}

std::optional<int> FleetCommands::run(const std::string& socket, bool as_json) {
  socket_ = socket;
  json_ = as_json;
  if (*apply_) return apply();
  if (*rollback_) return rollback();
  if (*history_) return history();
  if (*diff_) return diff();
  if (*export_) return print_revision();
  if (*list_) return list_nodes();
  if (*status_) return status();
  if (*accept_) return accept();
  return std::nullopt;
}

/// Until all nodes that are heard forward by it, or it is refused.
int FleetCommands::await_in_force(uint64_t revision) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    const auto fate = ask_json(socket_, "GET", fmt::format("/v1/fleet/await?number={}", revision));
    if (!fate) return fail(fate.error());
    if (fate->at("in_force").get<bool>()) return 0;
    if (fate->at("refusal") != "") return fail(text_of(fate->at("refusal")) + "; the one in force stays");
    if (std::chrono::steady_clock::now() >= until) return fail(text_of(fate->at("waits_for")));
  }
}

int FleetCommands::apply() {
  auto text = text_of_file(file_);
  if (!text) return fail(text.error());
  const auto noted = take_base(*text);
  if (dry_run_) return foresee(*text, file_);
  json wish = {{"text", *text}, {"file", file_}};
  if (base_ || noted) wish["base"] = base_ ? *base_ : *noted;
  std::string body;
  try {
    body = wish.dump();
  } catch (const json::exception&) {
    return fail(fmt::format("{} is not UTF-8", file_));
  }
  const auto done = ask_json(socket_, "POST", "/v1/fleet/apply", body);
  if (!done) return fail(done.error());
  const uint64_t revision = done->at("revision");
  if (const int failed = await_in_force(revision); failed != 0) return failed;
  if (json_)
    std::cout << done->dump(2) << '\n';
  else if (done->contains("same"))
    std::cout << fmt::format("revision {} says that already\n", revision);
  else
    std::cout << fmt::format("revision {} is in force: {}\n", revision, text_of(done->at("changes")));
  return 0;
}

/// What a revision would do to the flows of the node that is asked. Slots are the same on all nodes.
int FleetCommands::foresee(const std::string& text, const std::string& file) {
  return show_dry_run(socket_, {{"revision", text}, {"file", file}}, json_);
}

int FleetCommands::rollback() {
  if (dry_run_) {
    const auto revision = ask_json(socket_, "GET", fmt::format("/v1/fleet/revision?number={}", number_));
    return revision ? foresee(text_of(revision->at("text")), fmt::format("revision {}", number_))
                    : fail(revision.error());
  }
  const auto done = ask_json(socket_, "POST", "/v1/fleet/rollback", json{{"number", number_}}.dump());
  if (!done) return fail(done.error());
  const uint64_t revision = done->at("revision");
  if (const int failed = await_in_force(revision); failed != 0) return failed;
  if (json_)
    std::cout << done->dump(2) << '\n';
  else
    std::cout << fmt::format("revision {}, which is {} again, is in force: {}\n", revision, number_,
                             text_of(done->at("changes")));
  return 0;
}

int FleetCommands::history() {
  const auto list = ask_json(socket_, "GET", "/v1/fleet/history");
  if (!list) return fail(list.error());
  if (json_) {
    std::cout << list->dump(2) << '\n';
    return 0;
  }
  TextTable table({">REVISION", "", "WHEN", "BY", "FROM", "CHANGES"});
  for (const json& one : *list)
    table.add({text_of(one["number"]), one["active"].get<bool>() ? "in force" : "", text_of(one["when"]),
               text_of(one["by"]), text_of(one["file"]), text_of(one["changes"])});
  std::cout << table.render();
  return 0;
}

int FleetCommands::diff() {
  std::vector<UniqueFd> files;
  std::vector<std::string> words = {"diff", "-u"};
  for (const uint64_t number : {number_, other_}) {
    const auto revision = ask_json(socket_, "GET", fmt::format("/v1/fleet/revision?number={}", number));
    if (!revision) return fail(revision.error());
    files.push_back(file_of(text_of(revision->at("text"))));
    words.insert(words.end(), {"--label", fmt::format("revision {}", number)});
  }
  for (const UniqueFd& file : files) words.push_back(fmt::format("/dev/fd/{}", file.get()));
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    execvp("diff", arguments.data());
    _exit(127);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : kFailed;
  return code <= 1 ? 0 : fail("the program diff (package diffutils) does not work");
}

int FleetCommands::print_revision() {
  const std::string query = number_ == 0 ? "" : fmt::format("?number={}", number_);
  const auto revision = ask_json(socket_, "GET", "/v1/fleet/revision" + query);
  if (!revision) return fail(revision.error());
  std::string text = text_of(revision->at("text"));
  text.erase(0, std::min(text.find_first_not_of('\n'), text.size()));
  std::cout << kHeader << text_of(revision->at("number")) << ", as it was applied from "
            << text_of(revision->at("file")) << '\n'
            << text;
  return 0;
}

int FleetCommands::list_nodes() {
  const auto status = ask_json(socket_, "GET", "/v1/fleet");
  if (!status) return fail(status.error());
  if (json_) {
    std::cout << status->at("nodes").dump(2) << '\n';
    return 0;
  }
  TextTable table({"NODE", "ADDRESS", "ENGINE", "VERSION", "LEASE", ">HEARD", ">PHI", ">REVISION", ">STATE",
                   "DIGEST", "SESSIONS", "ANNOUNCES", ""});
  for (const json& node : status->at("nodes")) {
    const json& forwards = node["table"];
    const bool known = !forwards.is_null();
    std::string note = node["leads"].get<bool>() ? "leads" : "";
    if (node["drained"].get<bool>()) note += note.empty() ? "drained" : ", drained";
    if (node.contains("complaint") && node["complaint"] != "")
      note += (note.empty() ? "" : ", ") + text_of(node["complaint"]);
    table.add({text_of(node["name"]), text_of(node["address"]), text_of(node["engine"]),
               text_of(node["version"]), "lives",
               node["self"].get<bool>()         ? "itself"
               : node["heard_ms_ago"].is_null() ? "-"
                                                : text_of(node["heard_ms_ago"]) + " ms",
               node["phi"].is_null() ? "-" : fmt::format("{:.1f}", node["phi"].get<double>()),
               known ? text_of(forwards["revision"]) : "-", known ? text_of(forwards["state"]) : "-",
               known ? text_of(forwards["digest"]) : "-", text_of(node["sessions"]),
               node["announces"].empty() ? "-" : list_of(node["announces"]), note});
  }
  for (const json& node : status->at("departed"))
    table.add({text_of(node["name"]), text_of(node["address"]), "-", "-",
               fmt::format("ended {} s ago", node["ended_s_ago"].get<uint64_t>()), "-", "-", "-", "-", "-",
               "-", "-", ""});
  std::cout << table.render();
  return 0;
}

int FleetCommands::status() {
  const auto status = ask_json(socket_, "GET", "/v1/fleet");
  if (!status) return fail(status.error());
  const bool agree = status->at("agree");
  if (json_) {
    std::cout << status->dump(2) << '\n';
    return agree ? 0 : kFailed;
  }
  const json& forwards = status->at("table");
  std::string line =
      fmt::format("fleet {}: {} nodes, leader {}, revision {}, state {}, digest {}",
                  text_of(status->at("fleet")), status->at("nodes").size(), text_of(status->at("leader")),
                  text_of(forwards["revision"]), text_of(forwards["state"]), text_of(forwards["digest"]));
  if (agree) {
    std::cout << line << ": all agree\n";
    return 0;
  }
  for (const json& difference : status->at("differences")) line += "; " + text_of(difference);
  for (const auto& [name, why] : status->at("alarms").items())
    line += fmt::format("; {}: {}", name, text_of(why));
  if (status->at("waiting") != 0) line += fmt::format("; revision {} waits", text_of(status->at("waiting")));
  if (forwards["revision"] == 0) line += "; this node forwards by nothing of the fleet's yet";
  std::cout << line << '\n';
  return kFailed;
}

int FleetCommands::accept() {
  const auto done = ask_json(socket_, "POST", "/v1/fleet/accept");
  if (!done) return fail(done.error());
  std::cout << fmt::format("what the store holds counts from now on (epoch {})\n",
                           text_of(done->at("epoch")));
  return 0;
}

}  // namespace linimo
