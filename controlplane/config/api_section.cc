#include <string>

#include "controlplane/config/sections.h"
#include "controlplane/config/values.h"

namespace linimo {
namespace {

constexpr size_t kMostOperators = 256;
constexpr size_t kLongestName = 64;  // RFC 5280, ub-common-name

std::string read_operator(const TomlValue& value) {
  constexpr std::string_view kExpected = "the common name in a client's certificate, such as \"alice\"";
  const std::string& name = value.string(kExpected);
  if (name.empty() || name.size() > kLongestName) value.fail("not such a name", kExpected);
  return name;
}

}  // namespace

ApiConfig read_api(const TomlValue& value) {
  const TomlTable table = value.table({"listen", "cert_file", "key_file", "client_ca_file", "operators"});
  ApiConfig api;
  const auto path = [&](std::string_view key, std::string_view what, std::filesystem::path& into) {
    table.with_required(key, what, [&](const TomlValue& given) { into = read_path(given); });
  };
  table.with_required("listen", "listen = \"ADDRESS:PORT\" to serve the API at",
                      [&](const TomlValue& listen) { api.listen = read_tcp_endpoint(listen); });
  path("cert_file", "cert_file = \"/...\", the server's certificate", api.cert_file);
  path("key_file", "key_file = \"/...\", the key of that certificate", api.key_file);
  path("client_ca_file", "client_ca_file = \"/...\", who signs the certificates of clients",
       api.client_ca_file);
  table.with("operators", [&](const TomlValue& operators) {
    api.operators = read_list<std::string>(operators, "a list of the common names of those who may change",
                                           kMostOperators, read_operator);
  });
  return api;
}

}  // namespace linimo
