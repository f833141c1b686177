#include "tests/packets/fragments_check.h"

#include <algorithm>

#include "tests/packets/wire.h"

namespace linimo::tests {
namespace {

void put16(Bytes& bytes, size_t at, size_t value) {
  bytes[at] = static_cast<uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<uint8_t>(value);
}

void put_checksum(Bytes& frame, size_t ip) {
  put16(frame, ip + 10, 0);
  uint64_t sum = sum_of(ByteView(frame).subspan(ip, 20));
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  put16(frame, ip + 10, 0xffff - sum);
}

bool is_v6(ByteView frame) {
  return be16(frame, type_at(frame)) == kTypeIpv6;
}

/// What a fragment has in front of its part of the payload, from the IP header on.
size_t headers_of(ByteView frame) {
  return is_v6(frame) ? 48 : 20;
}

}  // namespace

std::string clear_identification(Left& sent) {
  if (sent.more.empty()) return "";
  std::vector<Bytes*> frames{&sent.bytes};
  for (Bytes& frame : sent.more) frames.push_back(&frame);
  Bytes first;
  for (Bytes* frame : frames) {
    const size_t ip = type_at(*frame) + 2;
    if (frame->size() < ip + headers_of(*frame) || (is_v6(*frame) && (*frame)[ip + 6] != 44))
      return "no fragment among fragments";
    const bool v6 = is_v6(*frame);
    if (!v6 && !is_right(sum_of(ByteView(*frame).subspan(ip, 20)))) return "checksum of a fragment";
    const auto id = frame->begin() + static_cast<ptrdiff_t>(v6 ? ip + 44 : ip + 4);
    const ptrdiff_t size = v6 ? 4 : 2;
    if (first.empty()) first.assign(id, id + size);
    if (!std::equal(first.begin(), first.end(), id)) return "fragments with different identifications";
    std::fill(id, id + size, 0);
    if (!v6) put_checksum(*frame, ip);
  }
  return "";
}

std::optional<Bytes> reassembled(const Left& sent) {
  const Bytes& first = sent.bytes;
  const size_t ip = type_at(first) + 2;
  const bool v6 = is_v6(first);
  const size_t headers = headers_of(first);
  Bytes whole(first.begin(), first.begin() + static_cast<ptrdiff_t>(ip + (v6 ? 40 : 20)));
  size_t offset = 0;
  std::vector<const Bytes*> frames{&first};
  for (const Bytes& frame : sent.more) frames.push_back(&frame);
  for (const Bytes* frame : frames) {
    const bool last = frame == frames.back();
    if (frame->size() <= ip + headers ||
        !std::equal(first.begin(), first.begin() + static_cast<ptrdiff_t>(ip), frame->begin()))
      return std::nullopt;
    const size_t payload = frame->size() - ip - headers;
    const size_t said = be16(*frame, v6 ? ip + 42 : ip + 6);
    const size_t wanted = v6 ? offset | !last : offset / 8 | (last ? 0 : 0x2000);
    const size_t length = v6 ? be16(*frame, ip + 4) + 40 : be16(*frame, ip + 2);
    if (said != wanted || length != headers + payload || (!last && payload % 8 != 0)) return std::nullopt;
    whole.insert(whole.end(), frame->end() - static_cast<ptrdiff_t>(payload), frame->end());
    offset += payload;
  }
  if (v6) {
    put16(whole, ip + 4, offset);
    whole[ip + 6] = first[ip + 40];
  } else {
    put16(whole, ip + 2, offset + 20);
    put16(whole, ip + 4, 0);
    put16(whole, ip + 6, 0x4000);
    put_checksum(whole, ip);
  }
  return whole;
}

}  // namespace linimo::tests
