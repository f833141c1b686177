// The configuration, any text: an answer or an error with a place, never a crash; and what is accepted makes
// a snapshot that validates. "SEED" in the text stands for a file that may serve as hash_seed_file, "MANY(x)"
// for as many x as fit into a megabyte: what grows without bound is found by short inputs.

#include <cstdlib>
#include <filesystem>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "controlplane/config/config.h"
#include "controlplane/tables/ids.h"
#include "controlplane/tables/planner.h"

using namespace linimo;

namespace {

std::string seed_file() {
  static char path[] = "/tmp/linimo-config-fuzz-XXXXXX";
  static const int fd = mkstemp(path);
  static const bool written = write(fd, "0123456789abcdef0123456789abcdef", 32) == 32;
  static const int removed_at_exit = std::atexit([] { unlink(path); });
  if (!written || removed_at_exit != 0) std::abort();
  return path;
}

constexpr size_t kLongest = 1 << 20;

void repeat_part(std::string& text) {
  constexpr std::string_view kMark = "MANY(";
  const size_t begin = text.find(kMark);
  if (begin == std::string::npos) return;
  const size_t first = begin + kMark.size();
  const size_t end = text.find(')', first);
  if (end == std::string::npos || end == first) return;
  const std::string part = text.substr(first, end - first);
  std::string many;
  while (text.size() + many.size() + part.size() < kLongest) many += part;
  text.replace(begin, end + 1 - begin, many);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string seed = seed_file();
  std::string text(reinterpret_cast<const char*>(data), size);
  repeat_part(text);
  if (const auto at = text.find("SEED"); at != std::string::npos) text.replace(at, 4, seed);

  const int fd = memfd_create("config", MFD_CLOEXEC);
  if (write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
  const auto config = load_config("/proc/self/fd/" + std::to_string(fd));
  close(fd);
  if (!config) {
    if (config.error().find(':') == std::string::npos) std::abort();  // no place
    return 0;
  }
  uint64_t slots = 0;
  for (const PoolConfig& pool : config->pools) slots += pool.table_size;
  if (slots > 1'000'000) return 0;  // sound, but slow to populate
  Ids ids;
  if (!ids.hold(*config, {}, {}, Ids::Time{})) std::abort();
  Planner planner;
  const auto bytes = build_snapshot(planner.plan(
      *config, [](const BackendKey&) { return HealthState::kUp; }, ids, 1));
  if (!SnapshotView::validate(bytes)) std::abort();
  return 0;
}
