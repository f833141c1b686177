#include "maglev/os/flow_words.h"

#include <algorithm>

#include "maglev/os/seqpacket.h"
#include "maglev/protocol.h"

namespace linimo {

void send_flow_words(int socket, std::span<const linimo_flow_word> words) {
  while (!words.empty() && has_room_to_spare(socket)) {
    protocol::FlowWords message;
    message.count = static_cast<uint32_t>(std::min<size_t>(words.size(), protocol::FlowWords::kMost));
    std::copy_n(words.begin(), message.count, message.words);
    (void)send_message(socket, protocol::encode(message));
    words = words.subspan(message.count);
  }
}

}  // namespace linimo
