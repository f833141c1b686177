#include "controlplane/member/documents_in_store.h"

#include <charconv>

#include <fmt/format.h>

namespace linimo {

std::optional<std::pair<uint64_t, uint64_t>> number_and_digest(std::string_view text) {
  constexpr size_t kDigits = 20, kLength = kDigits + 1 + 16;
  if (text.size() < kLength || text[kDigits] != '-') return std::nullopt;
  uint64_t number = 0, digest = 0;
  const auto a = std::from_chars(text.data(), text.data() + kDigits, number);
  const auto b = std::from_chars(text.data() + kDigits + 1, text.data() + kLength, digest, 16);
  if (a.ec != std::errc() || b.ec != std::errc() || b.ptr != text.data() + kLength) return std::nullopt;
  return std::pair(number, digest);
}

void read_documents(ConfigStore& store, const RecordsInStore& keys, uint64_t number,
                    const DocumentsFound& found) {
  if (number == 0) return found(tl::unexpected(std::string("the fleet has no revision yet")));
  const std::string history = keys.prefix() + "history/";
  const auto with_digest = [&store, &keys, number, history,
                            found](const tl::expected<StoreRead, std::string>& read) {
    if (!read) return found(tl::unexpected(read.error()));
    if (read->entries.empty())
      return found(
          tl::unexpected(fmt::format("there is no revision {}; see `linimo config history`", number)));
    const auto id = number_and_digest(std::string_view(read->entries.back().key).substr(history.size()));
    if (!id) return found(tl::unexpected(fmt::format("revision {} has no digest", number)));
    const std::string from = keys.prefix() + documents_prefix(id->first, id->second);
    store.read(from, [from, number, digest = id->second,
                      found](const tl::expected<StoreRead, std::string>& parts) {
      if (!parts) return found(tl::unexpected(parts.error()));
      Documents documents;
      for (const StoreEntry& entry : parts->entries)
        if (entry.value) documents[entry.key.substr(from.size())] = *entry.value;
      if (digest_of(documents) != digest)
        return found(tl::unexpected(fmt::format("the documents of revision {} are gone or damaged", number)));
      found(std::move(documents));
    });
  };
  store.read(history + fmt::format("{:020}-", number), with_digest);
}

}  // namespace linimo
