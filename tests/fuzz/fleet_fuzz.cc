// What a fleet's store, its documents, heartbeats and the file that a node remembers by may hold: any bytes.
// An answer or a reason, never a crash; and what is taken is written and read again as the same.

#include <cstdlib>
#include <string>
#include <string_view>

#include "controlplane/fleet/codec.h"
#include "controlplane/fleet/flow_news.h"
#include "controlplane/member/beacon.h"
#include "controlplane/member/documents.h"

using namespace linimo;

namespace {

template <typename Taken, typename Decode>
void read_again(const Taken& taken, Decode decode) {
  const std::string written = fleet::encode(taken);
  const auto again = decode(written);
  if (!again || fleet::encode(*again) != written) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr int kKinds = static_cast<int>(fleet::KeyKind::kDrainNode) + 1;
  const int choice = data[0] % (kKinds + 5);
  if (choice < kKinds) {
    const auto kind = static_cast<fleet::KeyKind>(choice);
    const auto decode = [kind](std::string_view text) { return fleet::decode(kind, text); };
    const auto value = decode(bytes);
    if (value)
      read_again(*value, decode);
    else if (value.error().empty())
      std::abort();
  } else if (choice == kKinds) {
    if (const auto read = fleet::decode_remembered(bytes)) read_again(*read, fleet::decode_remembered);
  } else if (choice == kKinds + 1) {
    if (const auto read = fleet::decode_heartbeat(bytes)) read_again(*read, fleet::decode_heartbeat);
    (void)verify(bytes, "secret");
  } else if (choice == kKinds + 2) {
    if (const auto read = fleet::decode_flow_news(bytes)) read_again(*read, fleet::decode_flow_news);
  } else if (choice == kKinds + 3) {
    (void)fleet::key_of(bytes);
    (void)compose({{"pool/a", std::string(bytes)}, {"pool/b", R"({"file":"f","line":3,"text":"x"})"}});
  } else if (const auto documents = split(std::string(bytes), "f")) {
    const auto file = compose(*documents);
    if (!file) std::abort();
  }
  return 0;
}
