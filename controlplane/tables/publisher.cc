#include "controlplane/tables/publisher.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "controlplane/change_text.h"
#include "controlplane/log.h"

namespace linimo {
namespace {

using Clock = std::chrono::steady_clock;

std::string hex(uint64_t digest) {
  return fmt::format("{:016x}", digest);
}

}  // namespace

Publisher::Publisher(boost::asio::io_context& io, std::filesystem::path socket, Owner& owner,
                     EventLog& events)
    : owner_(owner), events_(events), link_(io, std::move(socket), *this) {}

const LiveTables& Publisher::live() {
  if (!live_is_read_) {
    if (auto read = read_live_tables(std::move(live_.bytes))) live_ = std::move(*read);
    live_is_read_ = true;
  }
  return live_;
}

bool Publisher::offer(SnapshotSpec spec, std::string by) {
  publish_start_ = Clock::now();
  learning_.plan(spec, publish_start_);
  build_snapshot(spec, spare_);
  if (same_tables(spare_, live_.bytes)) {
    log_debug("tables are live already", {{"generation", live_.generation}});
    return false;
  }
  publishing_ = std::move(spare_);
  by_ = std::move(by);
  log_debug("publishing", {{"generation", spec.generation}, {"by", by_}, {"bytes", publishing_.size()}});
  link_.publish(spec.generation, publishing_);
  return true;
}

void Publisher::on_connected(const DataplanePeer& peer, LiveTables live,
                             std::optional<CountersView> counters) {
  events_.note(EventKind::kDataplane, log_info, "data plane connected",
               {{"pid", peer.pid},
                {"engine", peer.engine},
                {"workers", peer.workers},
                {"generation", peer.generation},
                {"digest", hex(live.digest)},
                {"restored", peer.restored ? "yes" : "no"}});
  if (!peer.snapshot_error.empty()) {
    log_warning("what is live cannot be read back", {{"why", peer.snapshot_error}});
  }
  if (!counters) log_warning("the data plane's counters cannot be read");
  // One that started anew by itself is the same process with other memory.
  const bool another = peer_ && (peer_->pid != peer.pid ||
                                 (counters_ && counters && !counters->shares_memory_with(*counters_)));
  connected_ = true;
  last_loss_.clear();
  peer_ = peer;
  counters_ = std::move(counters);
  const bool ours = live_.generation != 0 && live.bytes == live_.bytes;
  live_ = std::move(live);
  live_is_read_ = true;
  if (!ours) learn_live();
  if (another) learning_.begin_anew(Clock::now());
  last_generation_ = std::max(last_generation_, live_.generation);
  if (!live_.bytes.empty()) link_.prepare(live_.bytes);
  owner_.on_dataplane(another);
}

/// What is live was not published by this process, or not last.
void Publisher::learn_live() {
  live_services_.clear();
  const auto view = SnapshotView::validate(live_.bytes);
  if (!view) return;
  learning_.resume(*view, Clock::now() - peer_->live_for);
  live_services_ = linimo::live_services(*view);
}

void Publisher::on_lost(const std::string& reason) {
  connected_ = false;
  publishing_.clear();
  if (reason != last_loss_) {  // every attempt to connect again ends here
    last_loss_ = reason;
    events_.note(EventKind::kDataplane, log_warning, "no data plane, trying again", {{"why", reason}});
  }
  owner_.on_no_dataplane();
}

void Publisher::on_accepted(uint64_t generation) {
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - publish_start_);
  const std::string changes = table_changes(live_.bytes, publishing_);
  linimo_header header;
  std::memcpy(&header, publishing_.data(), sizeof header);
  live_.generation = last_generation_ = generation;
  live_.digest = header.digest;
  spare_ = std::exchange(live_.bytes, std::move(publishing_));
  live_is_read_ = false;
  publishing_.clear();
  learning_.accepted();
  live_services_ = linimo::live_services(SnapshotView::of_valid(live_.bytes));
  last_refusal_.clear();
  events_.note(EventKind::kGeneration, log_info, "generation accepted",
               {{"generation", generation},
                {"digest", hex(live_.digest)},
                {"by", by_},
                {"changes", changes.empty() ? "settings" : changes},
                {"bytes", live_.bytes.size()},
                {"took_us", took.count()}});
  owner_.on_live(by_);
  link_.prepare(live_.bytes);
}

void Publisher::on_refused(uint64_t generation, const std::string& reason) {
  spare_ = std::move(publishing_);
  last_refusal_ = reason;
  events_.note(EventKind::kDataplane, log_error, "generation refused by the data plane, the live one stays",
               {{"generation", generation}, {"live", live_.generation}, {"by", by_}, {"why", reason}});
  owner_.on_refused();
}

}  // namespace linimo
