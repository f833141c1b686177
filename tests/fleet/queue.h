// What will happen, by virtual time; what comes at the same time happens in the order in which it was said.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "tests/fleet/store.h"

namespace linimo::fleet {

class Queue {
 public:
  using Job = std::function<void()>;

  Virtual now() const { return now_; }

  void at(Virtual time, Job job) {
    uint32_t slot = 0;
    if (free_.empty()) {
      slot = static_cast<uint32_t>(jobs_.size());
      jobs_.push_back(std::move(job));
    } else {
      slot = free_.back();
      free_.pop_back();
      jobs_[slot] = std::move(job);
    }
    order_.push({time < now_ ? now_ : time, next_++, slot});
  }
  void after(Virtual delay, Job job) { at(now_ + delay, std::move(job)); }

  /// Does what is due until then, unless `stop` says so in between.
  template <typename Stop>
  void run_until(Virtual end, Stop stop) {
    while (!order_.empty() && order_.top().time <= end && !stop()) {
      const Due due = order_.top();
      order_.pop();
      now_ = due.time;
      const Job job = std::move(jobs_[due.slot]);
      free_.push_back(due.slot);
      job();
    }
    now_ = end;
  }

 private:
  struct Due {
    Virtual time;
    uint64_t order;
    uint32_t slot;

    bool operator<(const Due& other) const {
      return std::pair(other.time, other.order) < std::pair(time, order);
    }
  };
  Virtual now_{0};
  uint64_t next_ = 0;
  std::priority_queue<Due> order_;
  std::vector<Job> jobs_;
  std::vector<uint32_t> free_;
};

}  // namespace linimo::fleet
