#include "controlplane/fleet/codec.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <stdexcept>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace linimo::fleet {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr size_t kLongestName = 128;
constexpr size_t kLongestText = 4096;
constexpr int64_t kLongestWindow = 1000LL * 3600 * 24;

/// Why something was not understood.
class Refusal : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[noreturn]] void refuse(const std::string& what) {
  throw Refusal(what);
}

// Reading: each says what it wanted.

const json& member(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) refuse(fmt::format("no \"{}\"", name));
  return *found;
}

uint64_t number(const json& object, const char* name) {
  const json& value = member(object, name);
  if (!value.is_number_unsigned()) refuse(fmt::format("\"{}\" is no whole number", name));
  return value.get<uint64_t>();
}

int64_t revision(const json& object, const char* name) {
  const uint64_t value = number(object, name);
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    refuse(fmt::format("\"{}\" is too large", name));
  return static_cast<int64_t>(value);
}

std::string string_in(const json& value, size_t longest, const char* what) {
  if (!value.is_string()) refuse(fmt::format("{} is no text", what));
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() > longest) refuse(fmt::format("{} is longer than {} bytes", what, longest));
  return text;
}

std::string text_of(const json& object, const char* name, size_t longest = kLongestText) {
  return string_in(member(object, name), longest, name);
}

uint64_t digest_of(const json& object, const char* name) {
  const std::string text = text_of(object, name, 16);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    refuse(fmt::format("\"{}\" is no digest", name));
  return value;
}
std::string digest_text(uint64_t digest) {
  return fmt::format("{:016x}", digest);
}

const json& array_of(const json& object, const char* name) {
  const json& value = member(object, name);
  if (!value.is_array()) refuse(fmt::format("\"{}\" is no list", name));
  return value;
}

/// Those who look things up in it rely on the order.
std::vector<std::string> sorted_names(const json& object, const char* name) {
  std::vector<std::string> names;
  for (const json& value : array_of(object, name)) {
    names.push_back(string_in(value, kLongestName, name));
    if (names.size() > 1 && names[names.size() - 2] >= names.back())
      refuse(fmt::format("\"{}\" is not in order", name));
  }
  return names;
}

char letter(HealthState health) {
  return health == HealthState::kUp ? 'u' : health == HealthState::kDown ? 'd' : '?';
}
HealthState health_of(char letter) {
  if (letter == 'u') return HealthState::kUp;
  if (letter == 'd') return HealthState::kDown;
  if (letter != '?') refuse("a backend is neither u, d nor ?");
  return HealthState::kUnknown;
}

/// "u", "d" or "?"; behind it an "x" of one that drains, an "l" of one that asks for no new flows, and its
/// eighths if they are fewer than all.
std::string word_of(const BackendState& state) {
  return std::string(1, letter(state.health)) + (state.drains ? "x" : "") + (state.leaves ? "l" : "") +
         (state.eighths < Standing::kFullWeight ? std::to_string(state.eighths) : "");
}
BackendState state_of(const std::string& name, const json& value) {
  const std::string word = string_in(value, 4, "a backend's state");
  std::string_view marks = word;
  BackendState state{.name = name, .health = health_of(word.empty() ? ' ' : word[0])};
  marks.remove_prefix(1);
  const auto takes = [&marks](char mark) {
    const bool there = marks.starts_with(mark);
    if (there) marks.remove_prefix(1);
    return there;
  };
  state.drains = takes('x');
  state.leaves = takes('l');
  if (state.health == HealthState::kUp && !marks.empty() && marks[0] >= '0' &&
      marks[0] < static_cast<char>('0' + Standing::kFullWeight)) {
    state.eighths = static_cast<uint32_t>(marks[0] - '0');
    marks.remove_prefix(1);
  }
  if (!marks.empty())
    refuse("a backend's state is not u, d or ?, and perhaps x, l and, of one that is up, eighths");
  return state;
}

/// JSON objects are sorted by name, byte by byte, as the vectors are.
json to_json(const BackendStates& states) {
  json object = json::object();
  for (const BackendState& state : states) object[state.name] = word_of(state);
  return object;
}
const json& object_of(const json& object, const char* name) {
  const json& value = member(object, name);
  if (!value.is_object()) refuse(fmt::format("\"{}\" is no object", name));
  for (const auto& [key, ignored] : value.items())
    if (key.empty() || key.size() > kLongestName)
      refuse(fmt::format("a name in \"{}\" is empty or too long", name));
  return value;
}

BackendStates states_of(const json& object, const char* name) {
  BackendStates states;
  for (const auto& [key, value] : object_of(object, name).items()) states.push_back(state_of(key, value));
  return states;
}

/// What must be changed in `from` to have `to`: few, where a backend or two have died.
json difference(const BackendStates& from, const BackendStates& to) {
  json changes = json::object();
  auto old = from.begin();
  for (const BackendState& state : to) {
    for (; old != from.end() && old->name < state.name; ++old) changes[old->name] = nullptr;
    const bool both = old != from.end() && old->name == state.name;
    if (!both || *old != state) changes[state.name] = word_of(state);
    if (both) ++old;
  }
  for (; old != from.end(); ++old) changes[old->name] = nullptr;
  return changes;
}
BackendStates with_changes(const BackendStates& from, const json& changes) {
  BackendStates result;
  auto old = from.begin();
  for (const auto& [name, value] : changes.items()) {
    for (; old != from.end() && old->name < name; ++old) result.push_back(*old);
    if (old != from.end() && old->name == name) ++old;
    if (!value.is_null()) result.push_back(state_of(name, value));
  }
  result.insert(result.end(), old, from.end());
  return result;
}

json to_json(const Fence& fence) {
  return {{"epoch", fence.epoch}, {"leader", fence.leader}};
}
Fence fence_of(const json& object) {
  const json& fence = object_of(object, "fence");
  return {number(fence, "epoch"), revision(fence, "leader")};
}

json to_json(const TableId& id) {
  return {{"revision", id.revision},
          {"documents", digest_text(id.documents)},
          {"state", id.state},
          {"fence", to_json(id.fence)}};
}
TableId table_of(const json& object, const char* name) {
  const json& table = object_of(object, name);
  return {number(table, "revision"), digest_of(table, "documents"), number(table, "state"), fence_of(table)};
}

// Each kind of record.

json to_json(std::monostate) {
  return nullptr;
}
json to_json(const EpochRecord& record) {
  return {{"number", record.number}, {"by", record.by}};
}
json to_json(const RevisionRecord& record) {
  return {{"number", record.number}, {"digest", digest_text(record.digest)}, {"by", record.by}};
}
json to_json(const ActiveRecord& record) {
  return {
      {"fence", to_json(record.fence)}, {"number", record.number}, {"digest", digest_text(record.digest)}};
}
json to_json(const StateRecord& record) {
  json history = json::array();
  const BackendStates* newer = record.backends.get();
  for (const Past& past : record.history) {
    history.push_back({{"revision", past.revision},
                       {"changes", difference(*newer, *past.backends)},
                       {"ago_ms", past.ago.count()}});
    newer = past.backends.get();
  }
  return {{"fence", to_json(record.fence)},
          {"number", record.number},
          {"backends", to_json(*record.backends)},
          {"excused", record.excused},
          {"history", std::move(history)}};
}
json to_json(const LeaderRecord& record) {
  return {{"node", record.node}, {"instance", record.instance}};
}
json to_json(const NodeRecord& record) {
  return {{"instance", record.instance},
          {"about", record.about},
          {"announces", record.announces},
          {"tunnel", record.tunnel}};
}
json to_json(const ObservationsRecord& record) {
  json backends = json::object();
  for (const auto& [name, opinion] : record.backends)
    backends[name] = word_of({name, opinion.health, false, opinion.leaves, opinion.eighths});
  return {{"backends", std::move(backends)}, {"complaint", record.complaint}};
}
json to_json(const ReadyRecord& record) {
  return {{"instance", record.instance}, {"digest", digest_text(record.digest)}, {"refusal", record.refusal}};
}
json to_json(const DrainRecord& record) {
  return {{"by", record.by}};
}

StateRecord state_record_of(const json& object) {
  StateRecord record;
  record.fence = fence_of(object);
  record.number = number(object, "number");
  record.backends = std::make_shared<const BackendStates>(states_of(object, "backends"));
  record.excused = sorted_names(object, "excused");
  const json& history = array_of(object, "history");
  if (history.size() > kMostPast) refuse(fmt::format("more than {} tables of the past", kMostPast));
  std::shared_ptr<const BackendStates> newer = record.backends;
  for (const json& past : history) {
    const uint64_t ago = number(past, "ago_ms");
    if (ago > static_cast<uint64_t>(kLongestWindow)) refuse("\"ago_ms\" is more than a day");
    newer = std::make_shared<const BackendStates>(with_changes(*newer, object_of(past, "changes")));
    record.history.push_back({number(past, "revision"), newer, milliseconds(ago)});
  }
  return record;
}

ObservationsRecord observations_of(const json& object) {
  ObservationsRecord record;
  for (const auto& [name, value] : object_of(object, "backends").items()) {
    const BackendState seen = state_of(name, value);
    record.backends.emplace_back(name, Opinion(seen.health, seen.leaves, seen.eighths));
  }
  record.complaint = text_of(object, "complaint");
  return record;
}

Value value_of(KeyKind kind, const json& object) {
  switch (kind) {
    case KeyKind::kEpoch:
      return EpochRecord{number(object, "number"), text_of(object, "by")};
    case KeyKind::kRevision:
      return RevisionRecord{number(object, "number"), digest_of(object, "digest"), text_of(object, "by")};
    case KeyKind::kActive:
      return ActiveRecord{fence_of(object), number(object, "number"), digest_of(object, "digest")};
    case KeyKind::kState:
      return state_record_of(object);
    case KeyKind::kLeader:
      return LeaderRecord{text_of(object, "node", kLongestName), number(object, "instance")};
    case KeyKind::kNode:
      return NodeRecord{number(object, "instance"), text_of(object, "about"),
                        sorted_names(object, "announces"),
                        object.contains("tunnel") ? text_of(object, "tunnel", kLongestName) : ""};
    case KeyKind::kObservations:
      return observations_of(object);
    case KeyKind::kReady:
      return ReadyRecord{number(object, "instance"), digest_of(object, "digest"), text_of(object, "refusal")};
    case KeyKind::kDrainBackend:
    case KeyKind::kDrainNode:
      return DrainRecord{text_of(object, "by")};
  }
  refuse("a key of no known kind");
}

json parsed(std::string_view bytes, size_t most) {
  if (bytes.size() > most) refuse(fmt::format("{} bytes, more than {}", bytes.size(), most));
  json object = json::parse(bytes, nullptr, false);
  if (!object.is_object()) refuse("no JSON object");
  return object;
}

/// What `read` makes of it, or why it is refused.
template <typename Result, typename Read>
tl::expected<Result, std::string> attempted(Read read) {
  try {
    return read();
  } catch (const Refusal& refusal) {
    return tl::unexpected(std::string(refusal.what()));
  }
}

std::string written(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::optional<Key> key_of(std::string_view name) {
  constexpr std::pair<std::string_view, KeyKind> kSingle[] = {{"epoch", KeyKind::kEpoch},
                                                              {"revision", KeyKind::kRevision},
                                                              {"active", KeyKind::kActive},
                                                              {"state", KeyKind::kState},
                                                              {"leader", KeyKind::kLeader}};
  constexpr std::pair<std::string_view, KeyKind> kNamed[] = {{"nodes/", KeyKind::kNode},
                                                             {"observations/", KeyKind::kObservations},
                                                             {"drains/backend/", KeyKind::kDrainBackend},
                                                             {"drains/node/", KeyKind::kDrainNode}};
  for (const auto& [text, kind] : kSingle)
    if (name == text) return Key{kind};
  const auto named = [](KeyKind kind, uint64_t number, std::string_view rest) -> std::optional<Key> {
    if (rest.empty() || rest.size() > kLongestName) return std::nullopt;
    return Key{kind, number, std::string(rest)};
  };
  for (const auto& [prefix, kind] : kNamed)
    if (name.starts_with(prefix)) return named(kind, 0, name.substr(prefix.size()));
  constexpr std::string_view kReady = "ready/";
  constexpr size_t kDigits = 20;
  if (!name.starts_with(kReady) || name.size() <= kReady.size() + kDigits + 1) return std::nullopt;
  const std::string_view digits = name.substr(kReady.size(), kDigits);
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + kDigits, number);
  if (error != std::errc() || end != digits.data() + kDigits || name[kReady.size() + kDigits] != '/')
    return std::nullopt;
  return named(KeyKind::kReady, number, name.substr(kReady.size() + kDigits + 1));
}

std::string encode(const Value& value) {
  return written(std::visit([](const auto& record) { return to_json(record); }, value));
}

tl::expected<Value, std::string> decode(KeyKind kind, std::string_view bytes) {
  return attempted<Value>([&] { return value_of(kind, parsed(bytes, kMostValueBytes)); });
}

std::string encode(const Heartbeat& heartbeat) {
  return written({{"node", heartbeat.node},
                  {"instance", heartbeat.instance},
                  {"sequence", heartbeat.sequence},
                  {"table", to_json(heartbeat.table)},
                  {"digest", digest_text(heartbeat.digest)},
                  {"stands_in", heartbeat.stands_in}});
}

tl::expected<Heartbeat, std::string> decode_heartbeat(std::string_view bytes) {
  return attempted<Heartbeat>([&] {
    const json object = parsed(bytes, kMostValueBytes);
    return Heartbeat{text_of(object, "node", kLongestName),
                     number(object, "instance"),
                     number(object, "sequence"),
                     table_of(object, "table"),
                     digest_of(object, "digest"),
                     object.value("stands_in", false)};
  });
}

std::string encode(const Remembered& remembered) {
  const Floors& floors = remembered.memory.floors;
  const Table& table = remembered.memory.table;
  return written({{"instance", remembered.instance},
                  {"floors",
                   {{"epoch", floors.epoch},
                    {"store", floors.store},
                    {"leader", floors.leader},
                    {"revision", floors.revision},
                    {"documents", digest_text(floors.documents)},
                    {"fence", to_json(floors.state_fence)},
                    {"state", floors.state}}},
                  {"revision", table.revision},
                  {"documents", digest_text(table.documents)},
                  {"state", table.state != nullptr ? to_json(*table.state) : json()},
                  {"live", to_json(remembered.live)},
                  {"live_generation", remembered.live_generation},
                  {"live_digest", digest_text(remembered.live_digest)}});
}

tl::expected<Remembered, std::string> decode_remembered(std::string_view bytes) {
  return attempted<Remembered>([&] {
    const json object = parsed(bytes, kMostMemoryBytes);
    const json& floors = object_of(object, "floors");
    Remembered remembered;
    remembered.instance = number(object, "instance");
    remembered.memory.floors = {number(floors, "epoch"),        revision(floors, "store"),
                                revision(floors, "leader"),     number(floors, "revision"),
                                digest_of(floors, "documents"), fence_of(floors),
                                number(floors, "state")};
    remembered.memory.table.revision = number(object, "revision");
    remembered.memory.table.documents = digest_of(object, "documents");
    if (!member(object, "state").is_null())
      remembered.memory.table.state =
          std::make_shared<const StateRecord>(state_record_of(object_of(object, "state")));
    remembered.live = table_of(object, "live");
    remembered.live_generation = number(object, "live_generation");
    remembered.live_digest = digest_of(object, "live_digest");
    return remembered;
  });
}

}  // namespace linimo::fleet
