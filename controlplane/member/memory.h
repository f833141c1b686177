// What a member of a fleet keeps in `[node] state_dir`: how far it has seen the store's history, its table,
// and the documents that this was made from. So a node that starts while the store is out of reach serves as
// it did.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "controlplane/fleet/codec.h"
#include "controlplane/member/documents.h"

namespace linimo {

class FleetFiles {
 public:
  explicit FleetFiles(const std::filesystem::path& state_dir)
      : memory_(state_dir / "fleet.json"),
        documents_(state_dir / "fleet-documents.json"),
        documents_before_(state_dir / "fleet-documents-before.json") {}

  /// Nothing where there is none; what is damaged is logged, and as nothing.
  std::optional<fleet::Remembered> load() const;
  /// Those of this revision, if they were kept. Else it is logged why they are not there.
  std::optional<Documents> load_documents(uint64_t number, uint64_t digest) const;

  /// What cannot be written is logged. `over_power_cut`: wait for the disk.
  void save(const fleet::Remembered& remembered, bool over_power_cut) const;
  void save_documents(const Documents& documents) const;

 private:
  std::filesystem::path memory_;
  std::filesystem::path documents_;
  std::filesystem::path documents_before_;  // until the memory says that the newer ones count
};

}  // namespace linimo
