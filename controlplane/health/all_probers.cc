#include "controlplane/health/all_probers.h"

#include "controlplane/checks/words.h"
#include "controlplane/health/check_helper.h"
#include "controlplane/health/curl_prober.h"
#include "controlplane/health/dns_prober.h"
#include "controlplane/health/exec_prober.h"
#include "controlplane/health/icmp_prober.h"
#include "controlplane/health/tcp_prober.h"
#include "controlplane/health/udp_prober.h"

namespace linimo {
namespace {

class AllProbers final : public Prober {
 public:
  AllProbers(boost::asio::io_context& io, const std::filesystem::path& runtime_dir)
      : tcp_(make_tcp_prober(io)),
        curl_(make_curl_prober(io)),
        udp_(make_udp_prober(io)),
        dns_(make_dns_prober(io)),
        icmp_(make_icmp_prober(io)),
        exec_(make_exec_prober(io, kChecksFolder, runtime_dir / kChecksSocket, checks_program())) {}

  std::unique_ptr<Probe> start(const Address& backend, const HealthCheckConfig& config, Done done) override {
    return prober_for(config.type).start(backend, config, std::move(done));
  }

 private:
  Prober& prober_for(CheckType type) {
    switch (type) {
      case CheckType::kTcp:
        return *tcp_;
      case CheckType::kUdp:
        return *udp_;
      case CheckType::kDns:
        return *dns_;
      case CheckType::kIcmp:
        return *icmp_;
      case CheckType::kExec:
        return *exec_;
      case CheckType::kHttp:
      case CheckType::kTls:
      case CheckType::kHttps:
      case CheckType::kGrpc:
        break;
    }
    return *curl_;
  }

  std::unique_ptr<Prober> tcp_;
  std::unique_ptr<Prober> curl_;
  std::unique_ptr<Prober> udp_;
  std::unique_ptr<Prober> dns_;
  std::unique_ptr<Prober> icmp_;
  std::unique_ptr<Prober> exec_;
};

}  // namespace

std::unique_ptr<Prober> make_all_probers(boost::asio::io_context& io,
                                         const std::filesystem::path& runtime_dir) {
  return std::make_unique<AllProbers>(io, runtime_dir);
}

}  // namespace linimo
