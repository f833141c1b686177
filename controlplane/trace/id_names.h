// What the data plane's ids stand for, of the ids that somebody has met alone: there may be very many.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "maglev/snapshot.h"

namespace linimo {

class IdNames {
 public:
  /// To be named. True: it was not known yet.
  bool add_service(uint32_t id);
  bool add_backend(uint32_t id);
  /// Names all that were added, by the tables that are live; what has just gone from them keeps its number.
  void name_by(const std::optional<SnapshotView>& live);

  const std::string& service(uint32_t id) const { return services_.at(id); }
  const std::string& backend(uint32_t id) const { return backends_.at(id); }  // POOL/ADDRESS

 private:
  std::map<uint32_t, std::string> services_, backends_;
};

}  // namespace linimo
