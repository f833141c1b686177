#include "controlplane/api/page_query.h"

#include <algorithm>

#include "controlplane/trace/query.h"

namespace linimo {
namespace {

/// The number of a backend in the configuration.
std::optional<size_t> number_of(const Config& config, const BackendKey& key) {
  size_t first = 0;
  for (const PoolConfig& pool : config.pools) {
    for (size_t i = 0; pool.name == key.pool && i < pool.backends.size(); ++i) {
      if (pool.backends[i].address == key.address) return first + i;
    }
    first += pool.backends.size();
  }
  return std::nullopt;
}

}  // namespace

std::optional<BackendKey> backend_named(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto address = Address::parse(std::string(text.substr(slash + 1)));
  if (!address) return std::nullopt;
  return BackendKey{std::string(text.substr(0, slash)), *address};
}

tl::expected<PageQuery, std::string> page_query(std::string_view query) {
  PageQuery page;
  for (const auto& [name, value] : query_parameters(query)) {
    if (name == "limit") {
      page.limit = number_in<size_t>(value).value_or(0);
      if (page.limit == 0 || page.limit > kMaxPage)
        return tl::unexpected("limit is a number from 1 to " + std::to_string(kMaxPage));
    } else if (name == "after" || name == "backend") {
      auto& place = name == "after" ? page.after : page.only;
      place = backend_named(value);
      if (!place) return tl::unexpected(name + " is POOL/ADDRESS, as in web/10.0.1.1");
    }
  }
  return page;
}

tl::expected<BackendRange, std::string> range_of(const PageQuery& page, const Config& config) {
  const auto& named = page.only ? page.only : page.after;
  const auto number = named ? number_of(config, *named) : std::nullopt;
  if (named && !number) {
    return tl::unexpected("no backend " + named->address.to_string() + " in a pool named " + named->pool +
                          (page.only ? "" : " any more: list from the beginning"));
  }
  if (page.only) return BackendRange{*number, 1};
  const size_t first = number ? *number + 1 : 0;
  return BackendRange{first, std::min(page.limit, backend_count(config) - first)};
}

}  // namespace linimo
