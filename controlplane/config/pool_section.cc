#include <algorithm>
#include <cctype>
#include <set>

#include <fmt/format.h>

#include "controlplane/config/sections.h"
#include "controlplane/config/values.h"
#include "maglev/names.h"
#include "maglev/table.h"

namespace linimo {
namespace {

/// The bytes by which a backend makes itself known in the QUIC connection ids that it gives out. `ids`: of
/// the pool's backends before it.
void read_server_id(const TomlValue& value, PoolConfig& pool, std::set<uint64_t>& ids,
                    BackendConfig& backend) {
  constexpr std::string_view kExpected =
      "1 to 8 bytes in hexadecimal, such as \"0a1b\", of one length in a pool";
  const std::string& text = value.string(kExpected);
  const auto is_hex = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
  if (text.empty() || text.size() % 2 != 0 || text.size() > size_t{2} * LINIMO_MAX_SERVER_ID_LENGTH ||
      !std::all_of(text.begin(), text.end(), is_hex)) {
    value.fail("not a server id", kExpected);
  }
  const auto length = static_cast<uint8_t>(text.size() / 2);
  if (pool.backends.empty()) pool.server_id_length = length;
  if (length != pool.server_id_length) value.fail("a server id of another length", kExpected);
  backend.server_id = std::stoull(text, nullptr, 16);
  if (!ids.insert(backend.server_id).second)
    value.fail("a second backend with this server id", "each id once");
}

void read_backends(const TomlValue& value, PoolSection& section) {
  std::set<Address> seen;
  std::set<uint64_t> server_ids;
  value.each("a list of backends such as [{ address = \"10.0.1.1\" }]", [&](const TomlValue& entry) {
    const TomlTable table = entry.table({"address", "weight", "drain", "server_id"});
    BackendConfig backend;
    backend.weight = static_cast<uint32_t>(table.integer_or("weight", backend.weight, 0, 65535));
    table.with("drain", [&](const TomlValue& drain) { backend.drain = drain.boolean(); });
    const TomlValue* id = table.find("server_id");
    if (id == nullptr && section.pool.server_id_length != 0)
      entry.fail("a backend without server_id among others with one", "a server_id for each or for none");
    table.with("server_id",
               [&](const TomlValue& own) { read_server_id(own, section.pool, server_ids, backend); });
    const TomlValue& address = table.require("address", "address = \"...\" of the backend");
    backend.address = read_unicast_address(address);
    if (!seen.insert(backend.address).second) {
      address.fail(fmt::format("{} is listed twice in this pool", backend.address.to_string()),
                   "each backend once (weights make one larger)");
    }
    section.pool.backends.push_back(backend);
    section.backends.push_back(&address);
  });
  if (section.pool.backends.size() > LINIMO_MAX_POOL_BACKENDS) {
    value.fail("too many backends", fmt::format("at most {} in a pool", LINIMO_MAX_POOL_BACKENDS));
  }
}

uint32_t read_table_size(const TomlValue& value) {
  const auto size = static_cast<uint32_t>(value.integer(2, LINIMO_MAX_TABLE_SIZE));
  if (!is_prime(size)) {
    uint32_t above = size;
    while (!is_prime(above)) ++above;
    value.fail(fmt::format("{} is not a prime", size),
               fmt::format("a prime, such as {}: then every backend can reach every slot", above));
  }
  return size;
}

void read_encapsulation(const TomlTable& table, PoolConfig& pool) {
  table.with("encapsulation", [&](const TomlValue& value) {
    pool.encapsulation = static_cast<linimo_encapsulation>(value.one_of(kEncapsulationNames));
  });
  table.with("gue_port", [&](const TomlValue& value) {
    if (pool.encapsulation != LINIMO_ENCAP_GUE)
      value.fail("gue_port means nothing here", "it with encapsulation = \"gue\" only");
    pool.gue_port = static_cast<uint16_t>(value.integer(1, 65535));
  });
}

}  // namespace

PoolSection read_pool(const TomlValue& value) {
  const TomlTable table =
      value.table({"name", "encapsulation", "gue_port", "table_size", "health", "backends"});
  PoolSection section;
  section.place = &value;
  PoolConfig& pool = section.pool;
  read_encapsulation(table, pool);
  const bool sized =
      table.with("table_size", [&](const TomlValue& size) { pool.table_size = read_table_size(size); });
  table.with("health", [&](const TomlValue& health) { pool.health = read_health(health); });
  table.with_required("backends", "backends = [...] in [[pool]]",
                      [&](const TomlValue& backends) { read_backends(backends, section); });
  if (pool.backends.size() > pool.table_size) {
    value.place().attempt([&] {
      (sized ? table.find("table_size") : &value)
          ->fail(fmt::format("table_size {} is smaller than the number of backends", pool.table_size),
                 fmt::format("a prime above {}, best a hundred times as many", pool.backends.size()));
    });
  }
  pool.name = table.require("name", "name = \"...\" in [[pool]]").name(LINIMO_NAME_SIZE - 1);
  return section;
}

}  // namespace linimo
