#include "tests/packets/reply_check.h"

#include <algorithm>

#include "tests/packets/wire.h"

namespace linimo::tests {
namespace {

constexpr uint8_t kIcmp = 1, kTcp = 6, kIcmpv6 = 58;
constexpr uint8_t kEchoReply = 0, kEchoReply6 = 129;
constexpr size_t kErrorHeader = 8, kLongestError4 = 576, kLongestError6 = 1280;

bool equal(ByteView a, ByteView b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

/// Of ICMP or TCP at the end of a packet, whole.
bool checksum_right(ByteView ip, const Payload& payload) {
  const ByteView l4 = ip.subspan(payload.at);
  return is_right(sum_of(l4) + (payload.protocol == kIcmp ? 0 : pseudo_sum(ip, l4.size(), payload.protocol)));
}

std::string fault_of_error(ByteView in, ByteView out, const Payload& payload) {
  const ByteView quote = out.subspan(payload.at + kErrorHeader);
  if (quote.size() > in.size() || !equal(quote, in.first(quote.size()))) return "quotes what did not come in";
  const size_t longest = out[0] >> 4 == 4 ? kLongestError4 : kLongestError6;
  if (out.size() > longest) return "is longer than an ICMP error may be";
  if (quote.size() < in.size() && out.size() != longest) return "quotes less than it may";
  return "";
}

}  // namespace

bool is_reply(ByteView frame_in, const Left& sent) {
  const auto in = ip_packet(frame_in);
  const auto out = ip_packet(sent.bytes);
  if (!in || !out || (*in)[0] >> 4 != (*out)[0] >> 4) return false;
  const bool v6 = (*in)[0] >> 4 == 6;
  const size_t size = v6 ? 16 : 4;
  const size_t source = v6 ? 8 : 12;
  const size_t destination = source + size;
  // Both ways: a backend's own address may be a packet's source, and then is where its tunnel leads.
  return equal(out->subspan(destination, size), in->subspan(source, size)) &&
         equal(out->subspan(source, size), in->subspan(destination, size));
}

std::string fault_of_reply(ByteView frame_in, const Left& sent, const Mac& port_mac) {
  const ByteView frame_out = sent.bytes;
  const size_t type = type_at(frame_in);
  const auto in = ip_packet(frame_in);
  const auto out = ip_packet(frame_out);
  if (!in || !out) return "an answer with lengths that do not fit, or to such a frame";
  if (!equal(frame_in.first(6), port_mac)) return "an answer to what was for another station";
  if (!equal(frame_out.first(6), frame_in.subspan(6, 6))) return "an answer to another station's MAC address";
  if (!equal(frame_out.subspan(6, 6), port_mac)) return "an answer from another MAC address than the port's";
  if (type_at(frame_out) != type ||
      !equal(frame_out.subspan(12, type - 10), frame_in.subspan(12, type - 10))) {
    return "an answer under other tags";
  }
  if (frame_out.size() != type + 2 + out->size()) return "an answer with bytes behind its end";
  const bool v6 = (*in)[0] >> 4 == 6;
  const size_t addresses = v6 ? 8 : 12;
  const size_t size = v6 ? 16 : 4;
  if ((*out)[0] >> 4 != (v6 ? 6 : 4)) return "an answer of the other family";
  if (!equal(out->subspan(addresses, size), in->subspan(addresses + size, size)) ||
      !equal(out->subspan(addresses + size, size), in->subspan(addresses, size))) {
    return "an answer whose addresses are not swapped";
  }
  if ((*out)[v6 ? 7 : 8] != 64) return "an answer whose TTL is not 64";
  const auto was = payload_of(*in);
  const auto payload = payload_of(*out);
  if (!was || !payload || out->size() < payload->at + kErrorHeader) return "an answer that is too short";
  if (!v6 && !is_right(sum_of(out->first(payload->at)))) return "an answer whose header checksum is wrong";

  const uint8_t kind = (*out)[payload->at];
  const bool icmp = payload->protocol == (v6 ? kIcmpv6 : kIcmp);
  if (icmp && kind == (v6 ? kEchoReply6 : kEchoReply)) {
    const bool same = payload->at == was->at && in->size() == out->size() &&
                      equal(out->subspan(payload->at + 4), in->subspan(was->at + 4));
    if (!same) return "an echo of something else";
    return checksum_right(*out, *payload) == checksum_right(*in, *was) ? "" : "checksum of an echo reply";
  }
  if (!icmp && payload->protocol != kTcp) return "an answer of another protocol";
  if (!checksum_right(*out, *payload)) return "an answer whose checksum is wrong";
  if (icmp) return fault_of_error(*in, *out, *payload);
  return out->size() == payload->at + 20 ? "" : "a reset with more than its header";
}

}  // namespace linimo::tests
