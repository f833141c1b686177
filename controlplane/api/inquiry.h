// Asks the loop that decides what it knows, from the thread that serves, and never for long: the loop copies
// a slice, goes back to its checks, timers and messages, and is asked for the next one.
//
//   Inquiry inquiry(serving, deciding, controller);
//   inquiry.head([](StateResult state) { ... });                // all but the backends
//   inquiry.backends(choose, [](StateResult state) { ... });    // some of them
//   inquiry.everything([](StateResult state) { ... });
//
// One copy of backends is made at a time, whoever asks for how many: what requests take of the loop does not
// grow with their number. All that want everything while one is under way get the next one together.
//
// Lives on the serving thread, as do its callbacks. Both loops must outlive what was asked of them.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <tl/expected.hpp>

#include "controlplane/node_state.h"

namespace linimo {

using StateResult = tl::expected<std::shared_ptr<const NodeState>, std::string>;

/// By their numbers in the configuration (node_state.h).
struct BackendRange {
  size_t first = 0;
  size_t count = 0;
};

class Inquiry {
 public:
  using Done = std::function<void(const StateResult&)>;
  using Choose = std::function<tl::expected<BackendRange, std::string>(const Config&)>;

  Inquiry(boost::asio::io_context& serving, boost::asio::io_context& deciding, const Controller& controller);

  void head(Done done);
  /// `choose` picks from the configuration as it is then; its error becomes the result.
  void backends(Choose choose, Done done);
  void everything(Done done);

 private:
  struct Job {
    Choose choose;
    std::vector<Done> done;
    bool whole = false;
    int attempts = 0;
  };
  using JobAt = std::shared_ptr<Job>;

  void add(JobAt job);
  void begin();
  void go_on(const JobAt& job, const std::shared_ptr<NodeState>& state, size_t count);
  void finish(const JobAt& job, const StateResult& result);
  template <typename Ask, typename Take>
  void on_deciding_loop(Ask ask, Take take);

  boost::asio::io_context& serving_;
  boost::asio::io_context& deciding_;
  std::shared_ptr<StateCopier> copier_;  // used on the deciding loop alone
  std::deque<JobAt> jobs_;               // the first one is under way
};

}  // namespace linimo
