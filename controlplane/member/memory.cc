#include "controlplane/member/memory.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "controlplane/log.h"
#include "maglev/state_file.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr size_t kMostBytes = 64 << 20;

std::optional<std::string> content_of(const std::filesystem::path& file) {
  auto content = read_state_file(file, kMostBytes);
  if (content) return *content;
  log_error("what this node knew of its fleet is not read", {{"why", content.error()}});
  return std::nullopt;
}

std::optional<Documents> documents_in(const std::string& content) {
  const json read = json::parse(content, nullptr, false);
  if (!read.is_object()) return std::nullopt;
  Documents documents;
  for (const auto& [name, value] : read.items()) {
    if (!value.is_string()) return std::nullopt;
    documents[name] = value.get<std::string>();
  }
  return documents;
}

void write(const std::filesystem::path& file, const std::string& content, Outlives outlives) {
  if (const auto saved = write_state_file(file, content, outlives); !saved)
    log_error("what this node knows of its fleet is not saved, a restart will not know it",
              {{"why", saved.error()}});
}

}  // namespace

std::optional<fleet::Remembered> FleetFiles::load() const {
  const auto content = content_of(memory_);
  if (!content) return std::nullopt;
  auto remembered = fleet::decode_remembered(*content);
  if (remembered) return *remembered;
  log_error("what this node knew of its fleet is damaged, going on without",
            {{"file", memory_.string()}, {"why", remembered.error()}});
  return std::nullopt;
}

std::optional<Documents> FleetFiles::load_documents(uint64_t number, uint64_t digest) const {
  if (number == 0) return std::nullopt;
  std::string why;
  for (const std::filesystem::path& file : {documents_, documents_before_}) {
    const auto content = content_of(file);
    auto documents = content ? documents_in(*content) : std::nullopt;
    if (documents && digest_of(*documents) == digest) return documents;
    why += fmt::format("{}{} {}", why.empty() ? "" : ", ", file.string(),
                       !content     ? "is not there"
                       : !documents ? "is damaged"
                                    : "has another revision's");
  }
  log_error(
      "the documents of the fleet's revision that this node knew last are lost, the store has to tell them",
      {{"revision", number}, {"why", why}});
  return std::nullopt;
}

void FleetFiles::save(const fleet::Remembered& remembered, bool over_power_cut) const {
  write(memory_, encode(remembered), over_power_cut ? Outlives::kPowerCut : Outlives::kProcess);
}

void FleetFiles::save_documents(const Documents& documents) const {
  json object = json::object();
  for (const auto& [name, value] : documents) object[name] = value;
  // A crash before the memory is saved, too, leaves those that it tells of.
  std::error_code none_yet;
  std::filesystem::rename(documents_, documents_before_, none_yet);
  write(documents_, object.dump(-1, ' ', false, json::error_handler_t::replace), Outlives::kPowerCut);
}

}  // namespace linimo
