#include <algorithm>
#include <cctype>
#include <set>

#include <fmt/format.h>

#include "controlplane/config/sections.h"
#include "controlplane/config/values.h"
#include "maglev/table.h"

namespace linimo {
namespace {

/// The bytes by which a backend makes itself known in the QUIC connection ids that it gives out.
void read_server_id(const TomlValue& entry, const TomlValue* value, PoolConfig& pool,
                    BackendConfig& backend) {
  constexpr std::string_view kExpected =
      "1 to 8 bytes in hexadecimal, such as \"0a1b\", of one length in a pool";
  const bool first = pool.backends.empty();
  if (value == nullptr) {
    if (pool.server_id_length != 0)
      entry.fail("a backend without server_id among others with one", kExpected);
    return;
  }
  const std::string& text = value->string(kExpected);
  const auto is_hex = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
  if (text.empty() || text.size() % 2 != 0 || text.size() > 2 * LINIMO_MAX_SERVER_ID_LENGTH ||
      !std::all_of(text.begin(), text.end(), is_hex)) {
    value->fail("not a server id", kExpected);
  }
  const auto length = static_cast<uint8_t>(text.size() / 2);
  if (first) pool.server_id_length = length;
  if (length != pool.server_id_length) value->fail("a server id of another length", kExpected);
  backend.server_id = std::stoull(text, nullptr, 16);
  for (const BackendConfig& other : pool.backends) {
    if (other.server_id == backend.server_id)
      value->fail("a second backend with this server id", "each id once");
  }
}

void read_backends(const TomlValue& value, PoolSection& section) {
  std::set<Address> seen;
  for (const TomlValue& entry : value.array("a list of backends such as [{ address = \"10.0.1.1\" }]")) {
    const TomlTable table = entry.table({"address", "weight", "drain", "server_id"});
    const TomlValue& address = table.require("address", "address = \"...\" of the backend");
    BackendConfig backend;
    backend.address = read_unicast_address(address);
    backend.weight = static_cast<uint32_t>(table.integer_or("weight", backend.weight, 0, 65535));
    if (const TomlValue* drain = table.find("drain")) backend.drain = drain->boolean();
    if (!seen.insert(backend.address).second) {
      address.fail(fmt::format("{} is listed twice in this pool", backend.address.to_string()),
                   "each backend once (weights make one larger)");
    }
    read_server_id(entry, table.find("server_id"), section.pool, backend);
    section.pool.backends.push_back(backend);
    section.backends.push_back(&address);
  }
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
  if (const TomlValue* encapsulation = table.find("encapsulation"))
    pool.encapsulation = static_cast<linimo_encapsulation>(encapsulation->one_of({"ipip", "gre", "gue"}));
  if (const TomlValue* port = table.find("gue_port")) {
    if (pool.encapsulation != LINIMO_ENCAP_GUE)
      port->fail("gue_port means nothing here", "it with encapsulation = \"gue\" only");
    pool.gue_port = static_cast<uint16_t>(port->integer(1, 65535));
  }
}

}  // namespace

PoolSection read_pool(const TomlValue& value) {
  const TomlTable table =
      value.table({"name", "encapsulation", "gue_port", "table_size", "health", "backends"});
  PoolSection section;
  section.place = &value;
  PoolConfig& pool = section.pool;
  pool.name = table.require("name", "name = \"...\" in [[pool]]").name(LINIMO_NAME_SIZE - 1);
  read_encapsulation(table, pool);
  const TomlValue* table_size = table.find("table_size");
  if (table_size != nullptr) pool.table_size = read_table_size(*table_size);
  if (const auto* health = table.find("health")) pool.health = read_health(*health);
  read_backends(table.require("backends", "backends = [...] in [[pool]]"), section);
  if (pool.backends.size() > pool.table_size) {
    (table_size != nullptr ? table_size : &value)
        ->fail(fmt::format("table_size {} is smaller than the number of backends", pool.table_size),
               fmt::format("a prime above {}, best a hundred times as many", pool.backends.size()));
  }
  return section;
}

}  // namespace linimo
