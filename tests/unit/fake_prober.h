// Health checks whose verdicts a test decides.
#pragma once

#include <map>
#include <set>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "controlplane/health/prober.h"

namespace linimo {

class FakeProber final : public Prober {
 public:
  explicit FakeProber(boost::asio::io_context& io) : io_(io) {}

  std::set<Address> dead;    // their checks fail
  std::set<Address> silent;  // their checks never end
  std::set<Address> slow;    // theirs end when the test calls what is in `held`
  std::map<Address, Done> held;
  std::map<Address, int> started;
  int cancelled = 0;

  std::unique_ptr<Probe> start(const Address& backend, const HealthCheckConfig&, Done done) override {
    ++started[backend];
    auto probe = std::make_unique<FakeProbe>(*this);
    if (silent.contains(backend)) return probe;
    if (slow.contains(backend)) {
      *probe->alive = false;
      held[backend] = std::move(done);
      return probe;
    }
    boost::asio::post(
        io_, [alive = std::weak_ptr(probe->alive), done = std::move(done), failed = dead.contains(backend)] {
          if (const auto still = alive.lock()) {
            *still = false;
            done(failed ? Verdict{false, "connect: Connection refused"} : Verdict{true, {}});
          }
        });
    return probe;
  }

 private:
  struct FakeProbe final : Probe {
    explicit FakeProbe(FakeProber& owner) : prober(owner) {}
    ~FakeProbe() override { prober.cancelled += *alive ? 1 : 0; }
    FakeProber& prober;
    std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  };

  boost::asio::io_context& io_;
};

}  // namespace linimo
