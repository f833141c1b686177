#include "dataplane/dpdk/rss_key.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>

#include "maglev/state_file.h"

namespace linimo::dpdk {
namespace {

constexpr size_t kLeast = 40, kMost = 52;  // of the NICs that there are
constexpr size_t kMostText = 1024;

tl::expected<std::vector<uint8_t>, std::string> make_key(const std::filesystem::path& file) {
  std::vector<uint8_t> key(kMost);
  if (getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size()))
    return tl::unexpected(fmt::format("no random RSS key: {}", std::strerror(errno)));
  const std::string text = fmt::format("{:02x}\n", fmt::join(key, ""));
  if (auto kept = write_state_file(file, text, Outlives::kProcess); !kept)
    spdlog::warn("after a restart flows will come to other workers: {}", kept.error());
  return key;
}

}  // namespace

tl::expected<std::vector<uint8_t>, std::string> parse_rss_key(std::string_view text) {
  std::string digits;
  std::copy_if(text.begin(), text.end(), std::back_inserter(digits),
               [](unsigned char c) { return c != ':' && std::isspace(c) == 0; });
  std::vector<uint8_t> key(digits.size() / 2);
  bool sound = digits.size() % 2 == 0 && key.size() >= kLeast && key.size() <= kMost;
  for (size_t i = 0; sound && i < key.size(); ++i) {
    const char* at = digits.data() + 2 * i;
    sound = std::from_chars(at, at + 2, key[i], 16).ptr == at + 2;
  }
  if (!sound || std::all_of(key.begin(), key.end(), [](uint8_t byte) { return byte == 0; }))
    return tl::unexpected(
        fmt::format("an RSS key is {} to {} bytes, not all zero, as hexadecimal digits", kLeast, kMost));
  return key;
}

tl::expected<std::vector<uint8_t>, std::string> rss_key(const NodeConfig& config) {
  const bool own = config.rss_key_file.empty();
  const std::filesystem::path file = own ? config.runtime_dir / "rss-key" : config.rss_key_file;
  const auto text = read_state_file(file, kMostText);
  if (!text) return tl::unexpected(text.error());
  if (!*text) return own ? make_key(file) : tl::unexpected(fmt::format("{}: no such file", file.string()));
  auto key = parse_rss_key(**text);
  if (key) return key;
  if (!own) return tl::unexpected(fmt::format("{}: {}", file.string(), key.error()));
  spdlog::warn("{} is damaged, and made anew", file.string());
  return make_key(file);
}

std::vector<uint8_t> of_length(std::span<const uint8_t> key, size_t bytes) {
  std::vector<uint8_t> made(bytes);
  for (size_t i = 0; i < bytes; ++i) made[i] = key[i % key.size()];
  return made;
}

}  // namespace linimo::dpdk
