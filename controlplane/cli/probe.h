// linimo probe: asks a VIP as a client does, again and again: how long it takes, what fails, and who answers.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <tl/expected.hpp>

namespace CLI {
class App;
}

namespace linimo {

struct ProbeOptions {
  std::string target;  // ADDRESS:PORT
  std::string path;    // of an HTTP request; empty: connections alone
  std::string
      header;  // of the answer, which names the backend; empty: the first line of the answer's body does
  std::string netns;  // where the client is; empty: here
  uint32_t count = 10;
  double timeout_s = 3;

  CLI::App* add_to(CLI::App& app);
};

struct ProbeReport {
  std::map<std::string, std::vector<double>> answered_ms;  // by backend; "": who answers does not say
  std::map<std::string, uint32_t> failures;                // by reason
  std::map<std::string, double> estimated_shares;          // by backend, where no answer says who gave it

  bool names_nobody() const {
    return answered_ms.empty() || (answered_ms.size() == 1 && answered_ms.begin()->first.empty());
  }
};

/// Backends' shares of the packets that grew between two answers of /v1/backends. Other clients' are in it.
std::map<std::string, double> shares_between(const nlohmann::json& before, const nlohmann::json& after);

/// What a client could not even try is the error.
tl::expected<ProbeReport, std::string> probe(const ProbeOptions& options);

/// The body's or a header's word for who answered.
std::string backend_named_by(const std::string& answer, const std::string& header);

std::string render_probe(const ProbeReport& report);
nlohmann::json probe_json(const ProbeReport& report);

}  // namespace linimo
