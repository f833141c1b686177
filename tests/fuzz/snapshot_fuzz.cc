// Snapshots as a hostile controller would make them: a sound one with any bytes changed, cut or not, its size
// and checksum put right so that the checks behind them are reached. What validation lets through is then
// compiled and looked up in, which under the sanitizers proves that every index in it was checked.
//
// An input is a list of edits: four bytes of offset, one byte of value; the first byte says what is put
// right.

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <arpa/inet.h>

#include "dataplane/forward/generation.h"
#include "maglev/hash.h"

using namespace linimo;

namespace {

std::vector<std::byte> sound_snapshot() {
  SnapshotSpec spec;
  spec.encap_source4 = *Address::parse("10.0.0.11");
  spec.encap_source6 = *Address::parse("2001:db8::11");
  for (uint32_t p = 0; p < 2; ++p) {
    PoolSpec pool{.name = "pool", .encapsulation = LINIMO_ENCAP_GRE, .backends = {}, .table = nullptr};
    pool.backends = {{Address::v4(htonl(0x0a000001 + p)), p, 1, LINIMO_BACKEND_UP},
                     {*Address::parse("2001:db8::1"), 10 + p, 1, LINIMO_BACKEND_DRAINING}};
    pool.table = make_pool_table(pool.backends, 13);
    spec.pools.push_back(pool);
    ServiceSpec service;
    service.name = "service";
    service.id = service.pool = p;
    service.vips = {*Prefix::parse(p == 0 ? "203.0.113.10" : "203.0.113.0/24"),
                    *Prefix::parse("2001:db8:f::/64")};
    service.ports = {{static_cast<uint16_t>(80 + p), static_cast<uint16_t>(80 + p)}, {1000, 2000}};
    if (p == 1) service.ports.pop_back();
    service.allow_sources = {*Prefix::parse("192.0.2.0/24")};
    spec.services.push_back(service);
  }
  return build_snapshot(spec);
}

Generation::Memory allocate(size_t bytes) {
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  return {memory, [](std::byte* block) { std::free(block); }};
}

void use(const Generation& generation) {
  for (uint32_t i = 0; i < 512; ++i) {
    const AddressWords address = AddressWords::v4(htonl(0xcb007100 + i));
    const uint32_t vip = generation.vips().find(address);
    if (vip == VipTable::kNone) continue;
    for (const uint8_t protocol : {6, 17}) {
      for (const uint16_t port : {0, 80, 81, 1500, 65535}) {
        const ServiceView* service = generation.service(vip, protocol, port);
        if (service == nullptr) continue;
        generation.allows(*service, address);
        const linimo_slot slot = service->slots[slot_of(i * 0x9e3779b97f4a7c15, service->table_size)];
        if (slot == LINIMO_NO_BACKEND) continue;
        const Target& target = service->targets[slot];
        if (generation.target_of(target.backend_id) != &target) std::abort();
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<std::byte> sound = sound_snapshot();
  if (size == 0) return -1;
  const uint8_t repairs = data[0];
  std::vector<std::byte> bytes = sound;
  for (size_t at = 1; at + 5 <= size; at += 5) {
    uint32_t offset = 0;
    std::memcpy(&offset, data + at, 4);
    bytes[offset % bytes.size()] = static_cast<std::byte>(data[at + 4]);
    if (repairs & 4) bytes.resize(sizeof(linimo_header) + offset % (sound.size() - sizeof(linimo_header)));
  }
  auto& header = *reinterpret_cast<linimo_header*>(bytes.data());
  if (repairs & 1) header.size = bytes.size();
  const linimo_extent slots = header.sections[LINIMO_SECTION_SLOTS];
  const linimo_extent pools = header.sections[LINIMO_SECTION_POOLS];
  const bool slots_inside = slots.offset >= sizeof header && slots.offset <= bytes.size();
  if ((repairs & 8) && slots_inside && pools.offset % 8 == 0 && pools.offset < slots.offset &&
      pools.count <= (slots.offset - pools.offset) / sizeof(linimo_pool)) {
    const uint64_t most = (bytes.size() - slots.offset) / sizeof(linimo_slot);
    for (uint32_t i = 0; i < pools.count; ++i) {
      auto& pool = reinterpret_cast<linimo_pool*>(bytes.data() + pools.offset)[i];
      if (pool.slot_first > most || pool.table_size > most - pool.slot_first) continue;
      pool.slots_checksum = XXH3_64bits(bytes.data() + slots.offset + pool.slot_first * sizeof(linimo_slot),
                                        pool.table_size * sizeof(linimo_slot));
    }
  }
  if ((repairs & 2) && slots_inside) {
    header.checksum = 0;
    header.checksum = XXH3_64bits(bytes.data(), slots.offset);
  }
  // Fresh memory, and memory that has the sound snapshot's tables already: both say the same of it.
  HeldTables held;
  Generation::Memory memory = allocate(64 * 1024);  // more than any of these needs
  if (!SnapshotView::copy(sound, memory.get(), &held)) std::abort();
  const auto used =
      Generation::compile(bytes, [&](size_t) { return Generation::Block(memory, held); }, {}, {});
  const auto fresh = Generation::compile(bytes, allocate, {}, {});
  if (used.has_value() != fresh.has_value()) std::abort();
  if (!fresh) return 0;
  if (!std::ranges::equal((*used)->snapshot().bytes(), bytes)) std::abort();
  use(**used);
  use(**fresh);
  return 0;
}
