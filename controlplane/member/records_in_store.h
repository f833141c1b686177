// Between what `step` wants of the store and what a store understands: keys with the fleet's prefix, values
// as bytes. Pure.
#pragma once

#include <string>

#include "controlplane/fleet/actions.h"
#include "controlplane/fleet/events.h"
#include "controlplane/store/store.h"

namespace linimo {

class RecordsInStore {
 public:
  explicit RecordsInStore(const std::string& fleet) : prefix_("/linimo/v1/" + fleet + "/") {}

  /// Of all that is the fleet's.
  const std::string& prefix() const { return prefix_; }
  /// Of the records: documents and history stand beside.
  std::string records() const { return prefix_ + "now/"; }
  std::string key(const fleet::Key& key) const { return records() + text(key); }

  /// What this version does not know is left out; a value that makes no sense is there, and empty. `complain`
  /// is called with the key and what is wrong.
  std::vector<fleet::Entry> entries(
      const StoreRead& read,
      const std::function<void(const std::string&, const std::string&)>& complain) const;
  StoreTransaction transaction(const fleet::Transact& wanted) const;

 private:
  std::string prefix_;
};

}  // namespace linimo
