#include "controlplane/member/desk.h"

#include <algorithm>
#include <iterator>

#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "controlplane/change_text.h"
#include "controlplane/fleet/codec.h"
#include "controlplane/log.h"
#include "controlplane/time_text.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kPatience{3};  // that an operator has with a change

constexpr size_t kOfARevision = 4;  // operations of a transaction: compares and puts of its own

constexpr const char* kLost = "it is not known whether the store has taken it: see `linimo config history`";

}  // namespace

/// A revision on its way into the store.
struct FleetDesk::Written {
  Documents documents;
  uint64_t number = 0;
  uint64_t digest = 0;
  std::string by;
  json about;
  int64_t newest_changed = 0;  // what it is written over
  int64_t epoch_changed = 0;
  Documents::const_iterator next;  // to be written

  std::string prefix(const RecordsInStore& keys) const {
    return keys.prefix() + documents_prefix(number, digest);
  }
};

std::string FleetDesk::reason_not_to_write() const {
  const fleet::State& state = member_.state();
  if (!fleet::in_reach(state) || member_.alarms().contains(fleet::AlarmKind::kStoreOutOfReach))
    return fmt::format("the store is out of reach, so nothing can change{}{}",
                       member_.last_error().empty() ? "" : ": ", member_.last_error());
  if (!state.trusts) return "the store went back, so nothing is written to it: see `linimo fleet status`";
  return {};
}

std::string FleetDesk::author(const std::string& by) const {
  return fmt::format("{} at {}", by, member_.state().settings.node);
}

std::string FleetDesk::changes(const Documents& before, const Documents& after) const {
  const Revision a = Revisions::read(0, 0, before, member_.text(), member_.file());
  const Revision b = Revisions::read(0, 0, after, member_.text(), member_.file());
  if (b.config == nullptr) return {};
  // Of a first revision: all of it has come, but this node's own sections.
  Config nothing = *b.config;
  nothing.pools.clear();
  nothing.services.clear();
  return config_changes(a.config != nullptr ? *a.config : nothing, *b.config);
}

void FleetDesk::apply(const Wish& wish, const Answer& answer) {
  if (std::string why = reason_not_to_write(); !why.empty()) return answer(tl::unexpected(why));
  const auto valid = load_config_texts(member_.text(), member_.file(), wish.text, wish.file);
  if (!valid) return answer(tl::unexpected(valid.error()));
  auto parts = split(wish.text, wish.file);
  if (!parts) return answer(tl::unexpected(parts.error()));
  auto written = std::make_shared<Written>();
  written->documents = std::move(*parts);
  written->by = author(wish.by);
  written->about = {{"file", wish.file}};
  const auto& newest = member_.state().view.newest;
  const uint64_t number = newest ? newest->number : 0;
  const Revision whole = Revisions::read(0, 0, written->documents, member_.text(), member_.file());
  if (whole.config == nullptr) return answer(tl::unexpected(whole.refusal));
  if (!wish.base || !newest || *wish.base == number) return propose(written, answer);
  // Told what is different now from what he had before him.
  documents(
      *wish.base, [this, base = *wish.base, number, by = newest ? newest->by : "", answer](auto before) {
        documents(number, [=, this](const auto& now) {
          const std::string difference = before && now ? changes(*before, *now) : "";
          answer(tl::unexpected(
              fmt::format("this was made from revision {}, and meanwhile {} has written revision "
                          "{}{}{}; expected a file made from that: "
                          "`linimo config export {}`, or --base {} to replace it all the same",
                          base, by, number, difference.empty() ? "" : ": ", difference, number, number)));
        });
      });
}

void FleetDesk::rollback(uint64_t number, const std::string& by, const Answer& answer) {
  if (std::string why = reason_not_to_write(); !why.empty()) return answer(tl::unexpected(why));
  documents(number, [this, number, by, answer](const tl::expected<Documents, std::string>& found) {
    if (!found) return answer(tl::unexpected(found.error()));
    auto written = std::make_shared<Written>();
    written->documents = *found;
    written->by = author(by);
    written->about = {{"file", fmt::format("revision {}", number)}};
    propose(written, answer);
  });
}

void FleetDesk::propose(const std::shared_ptr<Written>& written, const Answer& answer) {
  const fleet::View& view = member_.state().view;
  const uint64_t newest = view.newest ? view.newest->number : 0;
  written->digest = digest_of(written->documents);
  written->number = 1 + std::max({newest, view.active_number(), member_.state().memory.floors.revision});
  written->newest_changed = view.newest.changed;
  written->epoch_changed = view.epoch.changed;
  // One that waits, perhaps for a node that has refused it, is proposed once more.
  if (view.newest && view.newest->digest == written->digest && view.candidate() == 0)
    return answer(json{{"revision", newest}, {"changes", ""}, {"same", true}});
  documents(newest, [this, written, answer](const tl::expected<Documents, std::string>& before) {
    written->about["by"] = written->by;
    written->about["when"] = now_text();
    written->about["changes"] = changes(before ? *before : Documents(), written->documents);
    written->next = written->documents.cbegin();
    write(written, answer);
  });
}

/// As few transactions as it fits into: the revision is in the last one, with what is left of its documents.
void FleetDesk::write(const std::shared_ptr<Written>& written, const Answer& answer) {
  StoreTransaction transaction;
  const std::string about = written->about.dump(-1, ' ', false, json::error_handler_t::replace);
  size_t bytes = about.size();
  for (; written->next != written->documents.cend(); ++written->next) {
    bytes += written->next->first.size() + written->next->second.size();
    const bool full = transaction.puts.size() + kOfARevision == StoreTransaction::kMostOperations ||
                      bytes > StoreTransaction::kMostBytes;
    if (full && !transaction.puts.empty()) break;
    transaction.puts.push_back(
        {written->prefix(member_.keys()) + written->next->first, written->next->second, 0});
  }
  if (written->next != written->documents.cend()) {
    return member_.store().transact(
        transaction, [this, written, answer](const tl::expected<StoreOutcome, std::string>& outcome) {
          if (!outcome)
            return answer(tl::unexpected(fmt::format("{}; nothing was changed", outcome.error())));
          write(written, answer);
        });
  }
  const RecordsInStore& keys = member_.keys();
  transaction.compares = {
      {keys.key({fleet::KeyKind::kRevision}), StoreCompare::What::kChanged, written->newest_changed},
      {keys.key({fleet::KeyKind::kEpoch}), StoreCompare::What::kChanged, written->epoch_changed}};
  transaction.puts.push_back(
      {keys.key({fleet::KeyKind::kRevision}),
       fleet::encode(fleet::RevisionRecord{written->number, written->digest, written->by}), 0});
  transaction.puts.push_back({keys.prefix() + history_key(written->number, written->digest), about, 0});
  member_.store().transact(
      transaction, [this, written, answer](const auto& outcome) { this->written(written, outcome, answer); });
}

void FleetDesk::written(const std::shared_ptr<Written>& written,
                        const tl::expected<StoreOutcome, std::string>& outcome, const Answer& answer) {
  if (!outcome) return answer(tl::unexpected(fmt::format("{}; {}", outcome.error(), kLost)));
  if (!outcome->done) return refuse_late(written, answer);
  log_info("revision written", {{"revision", written->number},
                                {"by", written->by},
                                {"changes", written->about["changes"].get<std::string>()}});
  answer(json{{"revision", written->number}, {"changes", written->about["changes"]}});
}

/// Somebody else was faster. Who wrote the same has written the same documents: they are his, too.
void FleetDesk::refuse_late(const std::shared_ptr<Written>& written, const Answer& answer) {
  member_.store().read(
      member_.keys().key({fleet::KeyKind::kRevision}),
      [this, written, answer](const tl::expected<StoreRead, std::string>& read) {
        std::string who = "somebody";
        uint64_t number = 0;
        if (read && !read->entries.empty() && read->entries[0].value) {
          const auto value = fleet::decode(fleet::KeyKind::kRevision, *read->entries[0].value);
          if (value) {
            const auto& record = std::get<fleet::RevisionRecord>(*value);
            who = record.by;
            number = record.number;
            if (number == written->number && record.digest == written->digest)
              return answer(json{{"revision", number}, {"changes", written->about["changes"]}});
            StoreTransaction forget;
            forget.erases.push_back(with_prefix(written->prefix(member_.keys())));
            member_.store().transact(forget, [](const auto&) {});
          }
        }
        documents(
            number, [this, written, answer, who, number](const tl::expected<Documents, std::string>& now) {
              answer(tl::unexpected(
                  fmt::format("nothing was changed: {} wrote revision {} at the same time{}", who, number,
                              now ? "; yours differs from it: " + changes(*now, written->documents) : "")));
            });
      });
}

void FleetDesk::history(const Answer& answer) {
  const std::string prefix = member_.keys().prefix() + "history/";
  member_.store().read(prefix, [this, prefix, answer](const tl::expected<StoreRead, std::string>& read) {
    if (!read) return answer(tl::unexpected(read.error()));
    json list = json::array();
    const uint64_t active = member_.state().view.active_number();
    for (auto entry = read->entries.rbegin(); entry != read->entries.rend(); ++entry) {
      const auto id = number_and_digest(std::string_view(entry->key).substr(prefix.size()));
      json about = json::parse(entry->value.value_or(""), nullptr, false);
      if (!id || !about.is_object()) continue;
      json one = {{"number", id->first},
                  {"digest", fmt::format("{:016x}", id->second)},
                  {"active", id->first == active}};
      for (const char* name : {"by", "when", "file", "changes"}) {
        const json& value = about[name];
        one[name] = value.is_string() ? value.get<std::string>() : "";
      }
      list.push_back(std::move(one));
    }
    answer(std::move(list));
  });
}

void FleetDesk::documents(uint64_t number, const DocumentsFound& found) {
  read_documents(member_.store(), member_.keys(), number, found);
}

void FleetDesk::revision(uint64_t number, const Answer& answer) {
  if (number == 0) number = member_.state().view.active_number();
  documents(number, [number, answer](const tl::expected<Documents, std::string>& found) {
    if (!found) return answer(tl::unexpected(found.error()));
    const auto file = compose(*found);
    if (!file) return answer(tl::unexpected(file.error()));
    answer(json{{"number", number}, {"file", file->name}, {"text", file->text}});
  });
}

void FleetDesk::drain(const std::string& pool, const std::string& address, bool wanted, const std::string& by,
                      const Answer& answer) {
  if (std::string why = reason_not_to_write(); !why.empty()) return answer(tl::unexpected(why));
  const auto parsed = Address::parse(address);
  const BackendKey backend{pool, parsed.value_or(Address())};
  const std::string name = backend_name(backend);
  const auto& summary = member_.state().memory.table.summary;
  if (!parsed || summary == nullptr ||
      !std::binary_search(summary->backends.begin(), summary->backends.end(), name))
    return answer(
        tl::unexpected(fmt::format("the fleet has no backend {} in a pool named {}", address, pool)));
  const std::string key = member_.keys().key({fleet::KeyKind::kDrainBackend, 0, name});
  StoreTransaction transaction;
  if (wanted)
    transaction.puts.push_back({key, fleet::encode(fleet::DrainRecord{author(by)}), 0});
  else
    transaction.erases.push_back(one_key(key));
  const json done = {{"pool", pool}, {"backend", address}, {"drain", wanted}};
  member_.store().transact(transaction, [=, this](const tl::expected<StoreOutcome, std::string>& outcome) {
    if (!outcome)
      return answer(tl::unexpected(fmt::format("{}; it is not known whether it was taken", outcome.error())));
    log_info(wanted ? "backend is to drain in the fleet" : "backend is to take flows again in the fleet",
             {{"by", by}, {"backend", name}});
    const auto holds = [this, backend, wanted] {
      const fleet::State& state = member_.state();
      return member_.leads_tables() && member_.drained_by_operator(backend) == wanted &&
             state.own.live == state.memory.table.id();
    };
    await(holds, kPatience, [answer, done](bool held) {
      if (held) return answer(done);
      answer(tl::unexpected(
          std::string("accepted, not yet in force: is there a leader? See `linimo fleet status`")));
    });
  });
}

void FleetDesk::accept(const std::string& by, const Answer& answer) {
  const fleet::State& state = member_.state();
  if (!fleet::in_reach(state)) return answer(tl::unexpected(reason_not_to_write()));
  if (state.trusts)
    return answer(tl::unexpected(std::string("the store did not go back: there is nothing to accept")));
  const uint64_t epoch = 1 + std::max(state.view.epoch_number(), state.memory.floors.epoch);
  const std::string key = member_.keys().key({fleet::KeyKind::kEpoch});
  StoreTransaction transaction;
  transaction.compares.push_back({key, StoreCompare::What::kChanged, state.view.epoch.changed});
  transaction.puts.push_back({key, fleet::encode(fleet::EpochRecord{epoch, author(by)}), 0});
  member_.store().transact(
      transaction, [answer, epoch, by](const tl::expected<StoreOutcome, std::string>& outcome) {
        if (!outcome) return answer(tl::unexpected(outcome.error()));
        if (!outcome->done) return answer(tl::unexpected(std::string("somebody else was faster")));
        log_warning("what the store holds counts from now on", {{"by", by}, {"epoch", epoch}});
        answer(json{{"epoch", epoch}});
      });
}

}  // namespace linimo
