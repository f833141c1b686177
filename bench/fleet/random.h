// Random numbers that are the same on every machine, which those of <random>'s distributions are not.
#pragma once

#include <cmath>
#include <cstdint>

namespace linimo::fleet {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }

  uint32_t below(uint32_t end) { return static_cast<uint32_t>((next() >> 32) * end >> 32); }

  /// In (0, 1].
  float unit() { return (static_cast<float>(next() >> 40) + 1.0F) * 0x1p-24F; }

  float exponential(float mean) { return -std::log(unit()) * mean; }

  /// P(X > x) = (least / x)^shape.
  float pareto(float least, float shape) { return least * std::pow(unit(), -1.0F / shape); }

 private:
  uint64_t state_;
};

}  // namespace linimo::fleet
