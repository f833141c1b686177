// Which backends a request asks for: a page of the configuration's, in their order, or one.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "controlplane/api/inquiry.h"
#include "controlplane/config/config.h"

namespace linimo {

inline constexpr size_t kDefaultPage = 1000;
inline constexpr size_t kMaxPage = 4096;

/// "web/10.0.1.1"
std::optional<BackendKey> backend_named(std::string_view text);

struct PageQuery {
  std::optional<BackendKey> after;
  std::optional<BackendKey> only;
  size_t limit = kDefaultPage;
};

/// ?after=web/10.0.1.1&limit=100, or ?backend=web/10.0.1.1; the error says what is wrong with it.
tl::expected<PageQuery, std::string> page_query(std::string_view query);

tl::expected<BackendRange, std::string> range_of(const PageQuery& page, const Config& config);

}  // namespace linimo
