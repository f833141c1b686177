// Revisions that this node has read: documents, and the configuration that they make with its own file. Few
// are kept: the one in force, and the one that waits.
#pragma once

#include <filesystem>
#include <list>
#include <memory>
#include <string>

#include "controlplane/config/config.h"
#include "controlplane/fleet/events.h"
#include "controlplane/member/documents.h"

namespace linimo {

struct Revision {
  uint64_t number = 0;
  uint64_t digest = 0;
  Documents documents;
  ComposedFile file;
  std::shared_ptr<const Config> config;  // none: it is refused
  std::shared_ptr<const fleet::Summary> summary;
  std::string refusal;
};

class Revisions {
 public:
  /// Checks the documents with this node's own file.
  static Revision read(uint64_t number, uint64_t digest, Documents documents, const std::string& own_text,
                       const std::filesystem::path& own_file);

  /// Where there are too many the oldest goes, but not the one of this number and digest.
  const Revision& keep(Revision revision, uint64_t in_force, uint64_t digest_in_force);
  const Revision* find(uint64_t number, uint64_t digest) const;
  const std::list<Revision>& all() const { return revisions_; }
  /// After the node's own file has changed.
  void read_again(const std::string& own_text, const std::filesystem::path& own_file);

 private:
  static constexpr size_t kMost = 4;
  std::list<Revision> revisions_;  // the latest first
};

}  // namespace linimo
