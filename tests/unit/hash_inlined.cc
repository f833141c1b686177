// maglev/hash.h in a unit of its own: it compiles XXH3 inline, and the test beside it wants the library's.

#include "maglev/hash.h"

uint64_t linimo_hash4(const void* key, uint64_t seed);
uint64_t linimo_hash6(const void* key, uint64_t seed);
uint32_t linimo_slot_of(uint64_t hash, uint32_t table_size);

uint64_t linimo_hash4(const void* key, uint64_t seed) {
  return linimo::flow_hash(*static_cast<const linimo_key4*>(key), seed);
}
uint64_t linimo_hash6(const void* key, uint64_t seed) {
  return linimo::flow_hash(*static_cast<const linimo_key6*>(key), seed);
}
uint32_t linimo_slot_of(uint64_t hash, uint32_t table_size) {
  return linimo::slot_of(hash, table_size);
}
