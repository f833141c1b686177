// Frames that no case foresaw: seeded random changes to those of the case file. The same seed gives the same
// frames, for whichever engine.
#pragma once

#include <random>
#include <vector>

#include "tests/packets/case_file.h"

namespace linimo::tests {

/// Makes the IPv4 header checksum right, where the frame holds an untagged IPv4 header.
void repair_checksum(Bytes& frame);

class Mutator {
 public:
  static constexpr size_t kShortest = 14, kLongest = 1514;  // what both engines can be given

  Mutator(const CaseFile& file, uint64_t seed, size_t longest = kLongest);

  /// Valid until the next call.
  const Bytes& next();

 private:
  size_t below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }
  const Bytes& any() { return *frames_[below(frames_.size())]; }
  size_t place();
  void change();

  size_t longest_;
  std::mt19937_64 random_;
  std::vector<const Bytes*> frames_;
  Bytes frame_;
};

}  // namespace linimo::tests
