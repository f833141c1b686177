#include "tests/packets/mutator.h"

#include <algorithm>
#include <iterator>

namespace linimo::tests {
namespace {

constexpr size_t kHeaders = 80;  // of a frame: where changes matter most
constexpr uint8_t kTelling[] = {0, 1, 4, 5, 6, 17, 20, 40, 41, 43, 44, 47, 58, 60, 64, 127, 128, 254, 255};

}  // namespace

Mutator::Mutator(const CaseFile& file, uint64_t seed, size_t longest) : longest_(longest), random_(seed) {
  // The same number of each case's frames, or those with hundreds of steps would crowd out the others.
  for (const Case& from : file.cases) {
    std::vector<const Bytes*> frames;
    for (const Step& step : from.steps) {
      if (!step.settles) frames.push_back(&step.frame);
    }
    for (size_t i = 0; i < 8; ++i) frames_.push_back(frames[i % frames.size()]);
  }
}

const Bytes& Mutator::next() {
  frame_ = any();
  for (size_t changes = below(4); changes > 0; --changes) change();
  // A frame of the kernel's most often falls at its first byte; one with a right checksum gets further.
  if (below(2) == 0) repair_checksum(frame_);
  if (frame_.size() > longest_) frame_.resize(longest_);
  while (frame_.size() < kShortest) frame_.push_back(static_cast<uint8_t>(random_()));
  return frame_;
}

size_t Mutator::place() {
  return below(below(4) != 0 ? std::min(frame_.size(), kHeaders) : frame_.size());
}

void Mutator::change() {
  if (frame_.empty()) return;
  const auto at = frame_.begin() + static_cast<ptrdiff_t>(place());
  switch (below(8)) {
    case 0:
      *at ^= static_cast<uint8_t>(1U << below(8));
      break;
    case 1:
      *at = static_cast<uint8_t>(random_());
      break;
    case 2:
      *at = kTelling[below(std::size(kTelling))];
      break;
    case 3:
      frame_.resize(below(frame_.size() + 1));
      break;
    case 4:
      frame_.resize(frame_.size() + below(64), static_cast<uint8_t>(random_()));
      break;
    case 5: {  // another frame's end behind this one's beginning
      const Bytes& other = any();
      frame_.erase(at, frame_.end());
      frame_.insert(frame_.end(), other.begin() + static_cast<ptrdiff_t>(below(other.size())), other.end());
      break;
    }
    case 6:
      frame_.erase(at, std::min(frame_.end(), at + static_cast<ptrdiff_t>(1 + below(16))));
      break;
    default:
      frame_.insert(at, 1 + below(16), static_cast<uint8_t>(random_()));
  }
}

void repair_checksum(Bytes& frame) {
  constexpr size_t kIp = 14;
  if (frame.size() < kIp + 20 || frame[12] != 0x08 || frame[13] != 0x00) return;
  const size_t header = static_cast<size_t>(frame[kIp] & 0x0f) * 4;
  if (header < 20 || frame.size() < kIp + header) return;
  frame[kIp + 10] = frame[kIp + 11] = 0;
  uint32_t sum = 0;
  for (size_t i = 0; i < header; i += 2) sum += uint32_t{frame[kIp + i]} << 8 | frame[kIp + i + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  frame[kIp + 10] = static_cast<uint8_t>(~sum >> 8);
  frame[kIp + 11] = static_cast<uint8_t>(~sum);
}

}  // namespace linimo::tests
