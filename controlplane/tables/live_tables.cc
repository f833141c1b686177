#include "controlplane/tables/live_tables.h"

#include <cstring>

#include "maglev/snapshot.h"

namespace linimo {

tl::expected<LiveTables, std::string> read_live_tables(std::vector<std::byte> bytes) {
  const auto view = SnapshotView::validate(bytes);
  if (!view) return tl::unexpected(view.error());
  LiveTables live;
  live.generation = view->header().generation;
  live.digest = view->header().digest;
  for (const linimo_pool& pool : view->pools()) {
    for (const linimo_backend& backend : view->backends(pool)) {
      live.backends[{pool.name, Address::from_abi(backend.address)}] = {
          backend.id, static_cast<linimo_backend_state>(backend.state)};
    }
  }
  for (const linimo_service& service : view->services()) live.services[service.name] = service.id;
  live.bytes = std::move(bytes);
  return live;
}

bool same_tables(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  if (a.size() != b.size() || a.size() < sizeof(linimo_header)) return false;
  const auto header_of = [](const std::vector<std::byte>& bytes) {
    linimo_header header;
    std::memcpy(&header, bytes.data(), sizeof header);
    header.generation = header.checksum = 0;
    return header;
  };
  const linimo_header header_a = header_of(a);
  const linimo_header header_b = header_of(b);
  // The slots need no look: their checksums stand before them.
  const uint64_t head = header_a.sections[LINIMO_SECTION_SLOTS].offset;
  return head <= a.size() && std::memcmp(&header_a, &header_b, sizeof header_a) == 0 &&
         std::memcmp(a.data() + sizeof header_a, b.data() + sizeof header_b, head - sizeof header_a) == 0;
}

}  // namespace linimo
