#include "controlplane/member/revisions.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace linimo {

Revision Revisions::read(uint64_t number, uint64_t digest, Documents documents, const std::string& own_text,
                         const std::filesystem::path& own_file) {
  Revision revision;
  revision.number = number;
  revision.digest = digest;
  revision.documents = std::move(documents);
  auto file = compose(revision.documents);
  if (!file) {
    revision.refusal = file.error();
    return revision;
  }
  revision.file = std::move(*file);
  auto config = load_config_texts(own_text, own_file, revision.file.text, revision.file.name);
  if (!config) {
    revision.refusal = config.error();
    return revision;
  }
  config->revision = fmt::format("{}/{}", number, config->revision);
  revision.summary = std::make_shared<const fleet::Summary>(summary_of(*config));
  revision.config = std::make_shared<const Config>(std::move(*config));
  return revision;
}

const Revision& Revisions::keep(Revision revision, uint64_t in_force, uint64_t digest_in_force) {
  const auto is = [](uint64_t number, uint64_t digest) {
    return [=](const Revision& of) { return of.number == number && of.digest == digest; };
  };
  revisions_.remove_if(is(revision.number, revision.digest));
  revisions_.push_front(std::move(revision));
  if (revisions_.size() > kMost) {
    auto last = std::prev(revisions_.end());
    if (is(in_force, digest_in_force)(*last)) --last;
    revisions_.erase(last);
  }
  return revisions_.front();
}

const Revision* Revisions::find(uint64_t number, uint64_t digest) const {
  const auto found = std::find_if(revisions_.begin(), revisions_.end(), [&](const Revision& revision) {
    return revision.number == number && revision.digest == digest;
  });
  return found != revisions_.end() ? &*found : nullptr;
}

void Revisions::read_again(const std::string& own_text, const std::filesystem::path& own_file) {
  for (Revision& revision : revisions_)
    revision = read(revision.number, revision.digest, std::move(revision.documents), own_text, own_file);
}

}  // namespace linimo
