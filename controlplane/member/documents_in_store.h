// A revision's documents, as the store has them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

#include "controlplane/member/documents.h"
#include "controlplane/member/records_in_store.h"
#include "controlplane/store/store.h"

namespace linimo {

using DocumentsFound = std::function<void(tl::expected<Documents, std::string>)>;

/// `found` is called later, on the store's thread, as long as that lives; the error is for an operator.
void read_documents(ConfigStore& store, const RecordsInStore& keys, uint64_t number,
                    const DocumentsFound& found);

/// Of a key behind "history/" or "config/": "00000000000000000007-0123456789abcdef".
std::optional<std::pair<uint64_t, uint64_t>> number_and_digest(std::string_view text);

}  // namespace linimo
