#include "controlplane/api/inquiry.h"

#include <new>
#include <utility>

#include <boost/asio/post.hpp>

namespace linimo {
namespace {

namespace asio = boost::asio;

// For so long a check, a failover or a drain may wait for a request.
constexpr std::chrono::milliseconds kSlice{1};
constexpr int kMaxAttempts = 8;  // the configuration may change while it is copied, but not again and again

const auto kOutOfMemory = tl::unexpected(std::string("out of memory"));

bool make_room(NodeState& state, const BackendRange& range) {
  try {
    state.first_backend = range.first;
    state.backends.reserve(range.count);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace

Inquiry::Inquiry(asio::io_context& serving, asio::io_context& deciding, const Controller& controller)
    : serving_(serving), deciding_(deciding), copier_(std::make_shared<StateCopier>(controller)) {}

/// `ask` is called there and returns a tl::expected; `take` gets that here. It is moved there and back: what
/// it holds, connections among it, belongs to the serving thread and must not end on the other one. (Hence
/// the captures of copies, `job = job`: what a reference to const is captured as could not be moved.)
template <typename Ask, typename Take>
void Inquiry::on_deciding_loop(Ask ask, Take take) {
  asio::post(deciding_, [&serving = serving_, ask = std::move(ask), take = std::move(take)]() mutable {
    decltype(ask()) result;
    try {
      result = ask();
    } catch (const std::bad_alloc&) {
      result = kOutOfMemory;
    }
    asio::post(serving, [take = std::move(take), result = std::move(result)]() mutable { take(result); });
  });
}

void Inquiry::head(Done done) {
  on_deciding_loop(
      [copier = copier_]() -> StateResult { return std::make_shared<const NodeState>(copier->head()); },
      std::move(done));
}

void Inquiry::backends(Choose choose, Done done) {
  add(std::make_shared<Job>(Job{.choose = std::move(choose), .done = {std::move(done)}}));
}

void Inquiry::everything(Done done) {
  for (size_t waiting = 1; waiting < jobs_.size(); ++waiting) {
    if (jobs_[waiting]->whole) return jobs_[waiting]->done.push_back(std::move(done));
  }
  const auto choose = [](const Config& config) { return BackendRange{0, backend_count(config)}; };
  add(std::make_shared<Job>(Job{.choose = choose, .done = {std::move(done)}, .whole = true}));
}

void Inquiry::add(JobAt job) {
  jobs_.push_back(std::move(job));
  if (jobs_.size() == 1) begin();
}

void Inquiry::begin() {
  using Head = tl::expected<std::shared_ptr<NodeState>, std::string>;
  on_deciding_loop([copier = copier_]() -> Head { return std::make_shared<NodeState>(copier->head()); },
                   [this, job = jobs_.front()](const Head& head) {
                     if (!head) return finish(job, tl::unexpected(head.error()));
                     const auto range = job->choose(*(*head)->config);
                     if (!range) return finish(job, tl::unexpected(range.error()));
                     if (!make_room(**head, *range)) return finish(job, kOutOfMemory);
                     go_on(job, *head, range->count);
                   });
}

void Inquiry::go_on(const JobAt& job, const std::shared_ptr<NodeState>& state, size_t count) {
  if (state->backends.size() >= count) return finish(job, std::shared_ptr<const NodeState>(state));
  on_deciding_loop(
      [copier = copier_, state = state, count]() -> tl::expected<bool, std::string> {
        return copier->add_backends(*state, count, kSlice);
      },
      [this, job = job, state = state, count](const tl::expected<bool, std::string>& same) {
        if (!same) return finish(job, tl::unexpected(same.error()));
        if (*same) return go_on(job, state, count);
        if (++job->attempts >= kMaxAttempts)
          return finish(job, tl::unexpected(std::string("the configuration keeps changing, try again")));
        begin();
      });
}

void Inquiry::finish(const JobAt& job, const StateResult& result) {
  jobs_.pop_front();
  if (!jobs_.empty()) begin();
  for (const Done& done : job->done) done(result);
}

}  // namespace linimo
