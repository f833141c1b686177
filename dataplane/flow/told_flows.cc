#include "dataplane/flow/told_flows.h"

#include <new>

#include <sys/mman.h>

namespace linimo {
namespace {

/// Zeros that take no memory until they are written.
std::shared_ptr<std::byte> untouched(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return {static_cast<std::byte*>(memory), [bytes](std::byte* mapped) { munmap(mapped, bytes); }};
}

ConnectionTable::Service key_of(uint32_t service, uint32_t idle_timeout) {
  return {.id = service, .idle_timeout_s = linimo_told_for(idle_timeout)};
}

}  // namespace

ToldFlows::ToldFlows(uint64_t flows, std::span<std::byte> memory) : table_(flows, memory) {
  table_.take_over([](uint64_t word) { return linimo_flow_state(word) != LINIMO_FLOW_EMPTY; });
}

ToldFlows::ToldFlows(uint64_t flows) : ToldFlows(flows, untouched(ConnectionTable::bytes_for(flows))) {}

ToldFlows::ToldFlows(uint64_t flows, std::shared_ptr<std::byte> memory)
    : owned_(std::move(memory)), table_(flows, {owned_.get(), ConnectionTable::bytes_for(flows)}) {}

uint64_t ToldFlows::find(uint64_t hash, uint32_t service, uint32_t idle_timeout, uint32_t now) const {
  return table_.peek_word(hash, key_of(service, idle_timeout), now);
}

bool ToldFlows::note(const linimo_flow_word& word, uint32_t idle_timeout, uint32_t now) {
  const ConnectionTable::Service key = key_of(word.service, idle_timeout);
  const ConnectionTable::Entry entry = table_.find(word.hash, key, now);
  const linimo_word_kind news = linimo_word_of(entry != nullptr ? *entry : 0, word.ended, word.ended == 0,
                                               word.backend, idle_timeout, now);
  if (news == LINIMO_WORD_NONE) return false;
  if (entry == nullptr) return table_.insert(word.hash, key, word.backend, now);
  table_.redirect(entry, word.backend);
  table_.touch(entry, word.ended != 0, false, now);
  return true;
}

void ToldFlows::sweep(uint64_t buckets, std::span<const SweptService> services, uint32_t now) {
  table_.clear_where(buckets, [&](uint64_t word) {
    const uint32_t timeout = services[linimo_flow_service(word)].idle_timeout;
    return linimo_flow_is_over(word, timeout == 0 ? 0 : linimo_told_for(timeout), now, LINIMO_SECONDS) != 0;
  });
}

}  // namespace linimo
