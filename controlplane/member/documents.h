// A revision's documents: pools, services and whatever else of a configuration file is no node's own, each
// section a key of the store.
//
//   auto documents = split(text, "linimo.toml");        // a file that an operator applies
//   put each under documents_prefix(number, digest_of(values)) + name
//   auto text = compose(values);                         // the file again, blank where it had something else
//
// What is composed has every section at the line where it stood, so that whoever refuses it names file, line
// and column as they were applied. Values come from the store and may be anything: refused with a reason.
// Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "controlplane/config/config.h"
#include "controlplane/fleet/events.h"

namespace linimo {

/// "pool/web" or "announce", and what stands there, as bytes.
using Documents = std::map<std::string, std::string>;

struct ComposedFile {
  std::string name;
  std::string text;
};

tl::expected<Documents, std::string> split(const std::string& text, const std::string& name);
tl::expected<ComposedFile, std::string> compose(const Documents& documents);

uint64_t digest_of(const Documents& documents);

/// Behind the fleet's prefix. Of two operators who write the same number at a time each has his own.
std::string documents_prefix(uint64_t number, uint64_t digest);
std::string history_key(uint64_t number, uint64_t digest);

/// What nodes must agree about.
fleet::Summary summary_of(const Config& config);
std::string backend_name(const BackendKey& backend);

}  // namespace linimo
