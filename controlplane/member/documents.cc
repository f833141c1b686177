#include "controlplane/member/documents.h"

#include <algorithm>
#include <set>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "controlplane/store/store.h"
#include "maglev/config/toml_reader.h"
#include "maglev/hash.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr uint64_t kMostLines = 1'000'000;
constexpr size_t kMostText = 16 << 20;
constexpr size_t kLongestFileName = 512;

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1);
    lines.push_back(text.substr(0, end + 1));
    text.remove_prefix(end + 1);
  }
  return lines;
}

bool begins_with(std::string_view line, std::string_view what) {
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  return line.starts_with(what);
}

/// Where a section of the file begins, and the document that it becomes, if it does.
struct Start {
  size_t line = 0;  // from 0
  std::string document;
};

/// In their order.
std::vector<Start> starts_of(const TomlValue& root, const std::vector<std::string_view>& lines) {
  std::vector<Start> starts;
  const TomlTable table = root.table_with_any_keys();
  std::set<std::string> names;
  for (const char* kind : {"pool", "service"}) {
    const TomlValue* sections = table.find(kind);
    if (sections == nullptr) continue;
    for (const TomlValue& section : sections->array("sections")) {
      const size_t line = section.place().line - 1;
      if (line >= lines.size() || !begins_with(lines[line], "[["))
        section.fail("a section in another form", fmt::format("[[{}]] on a line of its own", kind));
      const std::string name =
          fmt::format("{}/{}", kind, section.table_with_any_keys().require("name", "a name").name(64));
      if (!names.insert(name).second) section.fail("a second section of this name", "each name once");
      starts.push_back({line, name});
    }
  }
  for (const char* kind : {"announce", "metrics", "api"}) {
    const TomlValue* section = table.find(kind);
    if (section == nullptr) continue;
    const size_t line = section->place().line - 1;
    if (line >= lines.size() || !begins_with(lines[line], "["))
      section->fail("a section in another form", fmt::format("[{}] on a line of its own", kind));
    starts.push_back({line, kind});
  }
  for (const char* kind : {"node", "fleet"}) {
    if (const TomlValue* section = table.find(kind)) starts.push_back({section->place().line - 1, ""});
  }
  std::sort(starts.begin(), starts.end(), [](const Start& a, const Start& b) { return a.line < b.line; });
  // A comment right above a section belongs to it.
  for (size_t i = 0; i < starts.size(); ++i) {
    const size_t least = i == 0 ? 0 : starts[i - 1].line + 1;
    while (starts[i].line > least && begins_with(lines[starts[i].line - 1], "#")) --starts[i].line;
  }
  return starts;
}

}  // namespace

tl::expected<Documents, std::string> split(const std::string& text, const std::string& name) {
  try {
    const TomlValue root = parse_toml(text, name);
    const std::vector<std::string_view> lines = lines_of(text);
    const std::vector<Start> starts = starts_of(root, lines);
    Documents documents;
    for (size_t i = 0; i < starts.size(); ++i) {
      if (starts[i].document.empty()) continue;
      const size_t end = i + 1 < starts.size() ? starts[i + 1].line : lines.size();
      std::string part;
      for (size_t line = starts[i].line; line < end; ++line) part += lines[line];
      // What is between sections is nobody's, so that a file without some of them says the same.
      part.erase(part.find_last_not_of(" \t\r\n") + 1);
      part += '\n';
      std::string value = json{{"file", name}, {"line", starts[i].line + 1}, {"text", part}}.dump(
          -1, ' ', false, json::error_handler_t::replace);
      if (value.size() > StoreTransaction::kMostBytes)
        return tl::unexpected(
            fmt::format("{}:{}:1: this section has {} bytes; expected at most {}, which a store takes as one",
                        name, starts[i].line + 1, value.size(), StoreTransaction::kMostBytes));
      documents[starts[i].document] = std::move(value);
    }
    const auto forwards = [](const auto& document) { return document.first.find('/') != std::string::npos; };
    if (std::none_of(documents.begin(), documents.end(), forwards))
      return tl::unexpected(fmt::format("{}: has neither pools nor services", name));
    return documents;
  } catch (const ConfigError& error) {
    return tl::unexpected(std::string(error.what()));
  }
}

tl::expected<ComposedFile, std::string> compose(const Documents& documents) {
  ComposedFile file;
  std::map<uint64_t, std::string> parts;
  for (const auto& [name, value] : documents) {
    const json read = json::parse(value, nullptr, false);
    const auto refuse = [&, &of = name](std::string_view why) {
      return tl::unexpected(fmt::format("document {}: {}", of, why));
    };
    if (!read.is_object() || !read.value("text", json()).is_string() ||
        !read.value("file", json()).is_string() || !read.value("line", json()).is_number_unsigned())
      return refuse("no JSON object with file, line and text");
    const auto line = read["line"].get<uint64_t>();
    if (line == 0 || line > kMostLines) return refuse("a line that no file has");
    file.name = read["file"].get<std::string>();
    if (file.name.size() > kLongestFileName) return refuse("the name of its file is too long");
    if (!parts.emplace(line, read["text"].get<std::string>()).second)
      return refuse("another begins at the same line");
  }
  uint64_t next = 1;
  for (const auto& [line, part] : parts) {
    if (line < next) return tl::unexpected(fmt::format("documents overlap at line {}", line));
    file.text.append(line - next, '\n');
    file.text += part;
    if (!part.empty() && part.back() != '\n') file.text += '\n';
    next = line + static_cast<uint64_t>(std::count(part.begin(), part.end(), '\n'));
    if (!part.empty() && part.back() != '\n') ++next;
    if (file.text.size() > kMostText) return tl::unexpected(std::string("more than 16 MiB"));
  }
  return file;
}

uint64_t digest_of(const Documents& documents) {
  uint64_t digest = documents.size();
  for (const auto& [name, value] : documents) {
    digest = XXH3_64bits_withSeed(name.data(), name.size(), digest);
    digest = XXH3_64bits_withSeed(value.data(), value.size(), digest);
  }
  return digest;
}

std::string documents_prefix(uint64_t number, uint64_t digest) {
  return fmt::format("config/{:020}-{:016x}/", number, digest);
}
std::string history_key(uint64_t number, uint64_t digest) {
  return fmt::format("history/{:020}-{:016x}", number, digest);
}

std::string backend_name(const BackendKey& backend) {
  return backend.pool + '/' + backend.address.to_string();
}

fleet::Summary summary_of(const Config& config) {
  fleet::Summary summary;
  std::set<std::string> vips;
  for (const PoolConfig& pool : config.pools)
    for (const BackendConfig& backend : pool.backends)
      summary.backends.push_back(backend_name({pool.name, backend.address}));
  std::sort(summary.backends.begin(), summary.backends.end());
  for (const ServiceConfig& service : config.services)
    for (const Prefix& vip : service.vips) vips.insert(vip.to_string());
  summary.vips.assign(vips.begin(), vips.end());
  for (const ServiceConfig& service : config.services)
    if (service.tracking == LINIMO_TRACKING_ADAPTIVE)
      summary.window =
          std::max<std::chrono::milliseconds>(summary.window, std::chrono::seconds(service.idle_timeout_s));
  return summary;
}

}  // namespace linimo
