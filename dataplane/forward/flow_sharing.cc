#include "dataplane/forward/flow_sharing.h"

#include "maglev/rules/adaptive.h"
#include "maglev/rules/sharing.h"

namespace linimo {
namespace {

/// Null: it is not live, or does not share.
const ServiceView* sharing(const Generation& live, const linimo_flow_word& word) {
  const ServiceView* service = live.service_of_id(word.service);
  return service != nullptr && service->shares_flows && word.backend < LINIMO_MAX_BACKEND_IDS ? service
                                                                                              : nullptr;
}

}  // namespace

FlowSharing::FlowSharing(uint64_t flows, uint32_t workers) : told_(flows) {
  for (uint32_t worker = 0; worker < workers; ++worker) words_.push_back(std::make_unique<FlowWords>());
}

std::vector<linimo_flow_word> FlowSharing::take(size_t most, const Generation& live, uint32_t now_s) {
  std::vector<linimo_flow_word> news;
  linimo_flow_word word;
  for (const auto& words : words_) {
    while (news.size() < most && words->pop(word)) {
      if (word.datagram != 0) {
        news.push_back(word);
        continue;
      }
      const ServiceView* service = sharing(live, word);
      if (service != nullptr && told_.note(word, service->tracking_key.idle_timeout_s, now_s))
        news.push_back(word);
    }
  }
  return news;
}

void FlowSharing::hear(std::span<const linimo_flow_word> words, const Generation& live, uint64_t now_ms) {
  const auto now_s = static_cast<uint32_t>(now_ms / 1000);
  for (const linimo_flow_word& word : words) {
    if (word.datagram != 0) {
      const Target* target = live.target_of(word.backend);
      if (linimo_is_sound_word(word.backend, word.service) && target != nullptr && !live.is_node(*target))
        datagrams_.remember(word.hash, {word.backend, word.service}, now_ms);
      continue;
    }
    const ServiceView* service = sharing(live, word);
    if (service == nullptr) continue;
    told_.note(word, service->tracking_key.idle_timeout_s, now_s);
    const uint32_t slot = slot_of(word.hash, service->table_size);
    if (word.ended != 0 || service->is_settled(slot)) continue;
    const linimo_slot current = service->slots[slot];
    if (linimo_deviates(word.backend, current == LINIMO_NO_BACKEND ? LINIMO_MAX_BACKEND_IDS
                                                                   : service->targets[current].backend_id))
      service->unsettled->deviated(0, slot, now_s);
  }
}

void FlowSharing::sweep(const Generation& live, uint32_t now_s) {
  told_.sweep(told_.buckets_a_second(), live.swept_services(), now_s);
}

}  // namespace linimo
