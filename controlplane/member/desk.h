// What operators do with a fleet, by way of any of its nodes: apply a configuration, look at earlier ones, go
// back to one, drain a backend everywhere, accept a store that went back.
//
// Each answers once, later, on the event loop's thread. A wish is written only over what the operator has
// seen: the second of two is told what changed under him.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <nlohmann/json_fwd.hpp>
#include <tl/expected.hpp>

#include "controlplane/member/documents_in_store.h"
#include "controlplane/member/member.h"

namespace linimo {

class FleetDesk {
 public:
  using Answer = std::function<void(tl::expected<nlohmann::json, std::string>)>;

  FleetDesk(boost::asio::io_context& io, FleetMember& member);
  ~FleetDesk();
  FleetDesk(const FleetDesk&) = delete;
  FleetDesk& operator=(const FleetDesk&) = delete;

  /// What this node knows of its fleet; at once.
  nlohmann::json status() const;

  struct Wish {
    std::string text;
    std::string file;              // its name
    std::optional<uint64_t> base;  // the revision that it was made from; none: the newest
    std::string by;
  };
  /// {"revision": N, "changes": "..."}; N comes into force once every node that lives is ready for it.
  void apply(const Wish& wish, const Answer& answer);
  /// What has become of a revision: {"revision": N, "in_force": bool, "refusal": "...", "waits_for": "..."}.
  /// Answers once every node that is heard forwards by it, or one refuses it; else with what it waits for.
  void await_in_force(uint64_t number, const Answer& answer);
  /// The documents of N once more, as a new revision.
  void rollback(uint64_t number, const std::string& by, const Answer& answer);
  /// [{"number", "digest", "by", "when", "file", "changes"}], the latest first.
  void history(const Answer& answer);
  /// {"number", "file", "text"}; 0: the one in force.
  void revision(uint64_t number, const Answer& answer);
  /// Answers once this node forwards by it, or with why that is not so yet.
  void drain(const std::string& pool, const std::string& address, bool wanted, const std::string& by,
             const Answer& answer);
  /// What the store holds now counts, though it went back.
  void accept(const std::string& by, const Answer& answer);

 private:
  struct Written;
  struct Waiting;

  std::string reason_not_to_write() const;
  std::string author(const std::string& by) const;
  void propose(const std::shared_ptr<Written>& written, const Answer& answer);
  void write(const std::shared_ptr<Written>& written, const Answer& answer);
  void written(const std::shared_ptr<Written>& written,
               const tl::expected<StoreOutcome, std::string>& outcome, const Answer& answer);
  void refuse_late(const std::shared_ptr<Written>& written, const Answer& answer);
  void documents(uint64_t number, const DocumentsFound& found);
  std::string changes(const Documents& before, const Documents& after) const;

  /// `then` is called once: when it holds, or after this long, with whether it does.
  void await(std::function<bool()> holds, std::chrono::milliseconds patience, std::function<void(bool)> then);
  void look();
  nlohmann::json fate(uint64_t number) const;

  boost::asio::io_context& io_;
  FleetMember& member_;
  std::list<std::shared_ptr<Waiting>> waiting_;
};

}  // namespace linimo
