// The clients: connections arrive by chance (Poisson), live long by chance, and are silent for long by
// chance; both have heavy tails (Pareto).
//
// A packet here stands for all that a connection sends within a moment: they follow the first of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "bench/fleet/random.h"
#include "bench/fleet/settings.h"
#include "maglev/hash.h"

namespace linimo::fleet {

struct Connection {
  static constexpr uint32_t kNotBegun = ~0U;

  uint64_t hash;
  uint32_t begin_ms;
  uint32_t end_ms : 27;
  uint32_t goes_on : kModes;  // by mode, a bit each: neither over, nor broken, nor lost with its backend
  uint32_t vanishes : 1;      // ends without a FIN
  uint32_t last_ms;           // of its last packet, or kNotBegun
  uint32_t spread;            // the router's hash
  ByMode<uint16_t> backend;
};
static_assert(sizeof(Connection) == 32);

class Traffic {
 public:
  explicit Traffic(const Settings& settings)
      : random_(settings.seed),
        mean_gap_ms_(static_cast<double>(settings.duration_s) * 1000 /
                     static_cast<double>(settings.connections)),
        seed_(settings.seed) {}

  /// When the next connection begins.
  double next_arrival_ms() {
    return arrival_ms_ += mean_gap_ms_ * static_cast<double>(random_.exponential(1));
  }

  Connection begin(uint32_t now_ms) {
    const uint64_t hash = any_hash();
    const float life_ms = std::min(random_.pareto(kShortestLife_ms, kShape), kLongestLife_ms);
    Connection connection{.hash = hash,
                          .begin_ms = now_ms,
                          .end_ms = now_ms + static_cast<uint32_t>(life_ms),
                          .goes_on = (1 << kModes) - 1,
                          .vanishes = random_.below(kOneVanishesOf) == 0,
                          .last_ms = Connection::kNotBegun,
                          .spread = static_cast<uint32_t>(Random(hash).next()),
                          .backend = {}};
    return connection;
  }

  uint32_t next_packet_ms(const Connection& connection, uint32_t now_ms) {
    const float silence_ms = std::min(random_.pareto(kShortestSilence_ms, kShape), kLongestLife_ms);
    return std::min(now_ms + static_cast<uint32_t>(silence_ms), connection.end_ms);
  }

  /// Of a source and port that nobody has had before.
  uint64_t any_hash() {
    linimo_key4 key{};
    const uint64_t number = ++flows_;
    key.source = static_cast<uint32_t>(number >> 16);
    key.source_port = static_cast<uint16_t>(number);
    key.destination = 0x016433c6;
    key.destination_port = 0x5000;
    key.protocol = 6;
    return flow_hash(key, seed_);
  }

 private:
  // Means of about two minutes and a minute and a half; one silence in 140 would be longer than 15 minutes.
  static constexpr float kShape = 1.2F;
  static constexpr float kShortestLife_ms = 30'000, kLongestLife_ms = 10'800'000;
  static constexpr float kShortestSilence_ms = 15'000;
  static constexpr uint32_t kOneVanishesOf = 10;

  Random random_;
  double mean_gap_ms_;
  double arrival_ms_ = 0;
  uint64_t seed_;
  uint64_t flows_ = 0;
};

}  // namespace linimo::fleet
