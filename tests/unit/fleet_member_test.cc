// A node as a member of a fleet of one, whose store is a file: the whole way from an operator's wish to what
// a data plane on a real socket is handed, and back over restarts.
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "controlplane/controller.h"
#include "controlplane/log.h"
#include "controlplane/member/desk.h"
#include "tests/unit/fake_dataplane.h"
#include "tests/unit/fake_prober.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::HasSubstr;

std::string pool(const std::string& backends) {
  return "[[pool]]\nname = \"web\"\ntable_size = 251\nhealth = { type = \"tcp\", port = 80, interval = "
         "\"50ms\", "
         "timeout = \"50ms\" }\nbackends = [ " +
         backends + " ]\n";
}
constexpr const char* kTwo = "{ address = \"10.0.1.1\" }, { address = \"10.0.1.2\" }";
constexpr const char* kService =
    "[[service]]\nname = \"s\"\nvips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\npool = \"web\"\n";

class FleetMemberTest : public testing::Test {
 protected:
  FleetMemberTest() {
    set_log_level("error");
    folder_.write("seed", "0123456789abcdef");
    write_config("");
  }

  void write_config(const std::string& more) {
    const std::string folder = folder_.path().string();
    folder_.write("linimo.toml",
                  "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\nencap_source = [\"10.0.0.11\"]\n"
                  "hash_seed_file = \"" +
                      folder + "/seed\"\nruntime_dir = \"" + folder +
                      "\"\n"
                      "[fleet]\nname = \"prod\"\nlease = \"2s\"\n" +
                      more);
  }

  void start() {
    const auto text = read_config_text(folder_.path() / "linimo.toml");
    auto config = load_config_text(*text, folder_.path() / "linimo.toml");
    ASSERT_TRUE(config) << config.error();
    auto made = FleetMember::make(io_, *config, *text);
    ASSERT_TRUE(made) << made.error();
    member_ = std::move(*made);
    if (auto known = member_->remembered()) *config = std::move(*known);
    controller_.emplace(io_, std::move(*config), prober_, ConfigTrial(), member_.get());
    controller_->start();
    desk_.emplace(io_, *member_);
  }
  void stop() {
    desk_.reset();
    controller_.reset();
    member_.reset();
  }
  FakeDataplane& start_dataplane() { return fake_.emplace(folder_.path() / "dataplane.sock"); }

  bool wait(const std::function<bool()>& condition, milliseconds most = milliseconds(10'000)) {
    const auto end = std::chrono::steady_clock::now() + most;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      if (fake_) fake_->poll();
      io_.restart();
      io_.run_one_for(milliseconds(5));
    }
    return true;
  }
  bool settles() {
    return wait([&] {
      return member_->state().own.live == member_->state().memory.table.id() && member_->leads_tables() &&
             controller_->up_to_date();
    });
  }

  tl::expected<json, std::string> asked(const std::function<void(FleetDesk::Answer)>& ask) {
    std::optional<tl::expected<json, std::string>> answered;
    ask([&](tl::expected<json, std::string> answer) { answered = std::move(answer); });
    if (!wait([&] { return answered.has_value(); })) return tl::unexpected(std::string("no answer"));
    return *answered;
  }
  tl::expected<json, std::string> apply(const std::string& text,
                                        std::optional<uint64_t> base = std::nullopt) {
    wait([&] { return fleet::in_reach(member_->state()); });
    return asked([&](auto answer) { desk_->apply({text, "applied.toml", base, "uid 0"}, answer); });
  }
  SnapshotView published() const { return SnapshotView::of_valid(fake_->published.back()); }
  size_t backends() const { return published().backends(published().pools()[0]).size(); }
  linimo_backend_state state_of(const std::string& address) const {
    for (const linimo_backend& backend : published().backends(published().pools()[0]))
      if (Address::from_abi(backend.address).to_string() == address)
        return static_cast<linimo_backend_state>(backend.state);
    return static_cast<linimo_backend_state>(99);
  }

  TemporaryFolder folder_;
  boost::asio::io_context io_;
  FakeProber prober_{io_};
  std::optional<FakeDataplane> fake_;
  std::unique_ptr<FleetMember> member_;
  std::optional<Controller> controller_;
  std::optional<FleetDesk> desk_;
};

TEST_F(FleetMemberTest, WhatIsAppliedIsForwardedByWithTheFleetsHealth) {
  start_dataplane();
  start();
  ASSERT_TRUE(wait([&] { return member_->state().own.live_known; }));
  EXPECT_TRUE(fake_->published.empty()) << "without a revision nothing is touched";
  prober_.dead = {*Address::parse("10.0.1.2")};
  const auto applied = apply(pool(kTwo) + kService);
  ASSERT_TRUE(applied) << applied.error();
  EXPECT_EQ(applied->at("revision"), 1);
  ASSERT_TRUE(settles());
  EXPECT_EQ(backends(), 2u);
  EXPECT_EQ(state_of("10.0.1.1"), LINIMO_BACKEND_UP);
  EXPECT_EQ(state_of("10.0.1.2"), LINIMO_BACKEND_DOWN);
  EXPECT_TRUE(desk_->status().at("agree")) << desk_->status().dump(1);
  prober_.dead.clear();
  ASSERT_TRUE(wait([&] { return state_of("10.0.1.2") == LINIMO_BACKEND_UP; }));
}

TEST_F(FleetMemberTest, AMistakeIsNamedInTheFileThatWasApplied) {
  start_dataplane();
  start();
  const auto wrong = apply("\n\n" + pool("{ address = \"2001:db8::1\" }") + kService);
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error(), HasSubstr("applied.toml:7:"));
  EXPECT_FALSE(member_->state().view.newest);
}

TEST_F(FleetMemberTest, TheSecondOfTwoOperatorsIsToldWhatTheFirstChanged) {
  start_dataplane();
  start();
  ASSERT_TRUE(apply(pool(kTwo) + kService, 0));
  ASSERT_TRUE(settles());
  ASSERT_TRUE(apply(pool("{ address = \"10.0.1.1\" }") + kService, 1));
  ASSERT_TRUE(wait([&] { return member_->state().view.active_number() == 2; }));
  const auto late = apply(pool(kTwo) + "# mine\n" + kService, 1);
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error(), HasSubstr("uid 0 at lb1 has written revision 2"));
  EXPECT_THAT(late.error(), HasSubstr("-backend web/10.0.1.2"));
}

TEST_F(FleetMemberTest, TwoWhoApplyTheSameAtOnceHaveBothDoneIt) {
  start_dataplane();
  start();
  ASSERT_TRUE(wait([&] { return fleet::in_reach(member_->state()); }));
  std::vector<tl::expected<json, std::string>> answers;
  for (int i = 0; i < 2; ++i) {
    desk_->apply({pool(kTwo) + kService, "applied.toml", std::nullopt, "uid 0"},
                 [&](auto answer) { answers.push_back(std::move(answer)); });
  }
  ASSERT_TRUE(wait([&] { return answers.size() == 2; }));
  for (const auto& answer : answers) {
    ASSERT_TRUE(answer) << answer.error();
    EXPECT_EQ(answer->at("revision"), 1);
  }
  ASSERT_TRUE(settles());
  const auto kept = asked([&](auto answer) { desk_->revision(1, answer); });
  EXPECT_TRUE(kept) << kept.error();
}

TEST_F(FleetMemberTest, WhatWasExportedAppliesToAStoreThatIsEmpty) {
  start_dataplane();
  start();
  const auto applied = apply(pool(kTwo) + kService, 7);
  EXPECT_TRUE(applied) << applied.error();
}

TEST_F(FleetMemberTest, HistoryExportAndRollback) {
  start_dataplane();
  start();
  const std::string first = "# of two\n" + pool(kTwo) + kService;
  ASSERT_TRUE(apply(first));
  ASSERT_TRUE(settles());
  ASSERT_TRUE(apply(pool("{ address = \"10.0.1.1\" }") + kService));
  ASSERT_TRUE(wait([&] { return member_->state().view.active_number() == 2; }));
  const auto exported = asked([&](auto answer) { desk_->revision(1, answer); });
  ASSERT_TRUE(exported) << exported.error();
  EXPECT_EQ(exported->at("text"), first);
  const auto back = asked([&](auto answer) { desk_->rollback(1, "uid 0", answer); });
  ASSERT_TRUE(back) << back.error();
  EXPECT_EQ(back->at("revision"), 3);
  EXPECT_THAT(back->at("changes").get<std::string>(), HasSubstr("+backend web/10.0.1.2"));
  ASSERT_TRUE(wait([&] { return member_->state().view.active_number() == 3; }));
  ASSERT_TRUE(settles());
  EXPECT_EQ(backends(), 2u);
  const auto history = asked([&](auto answer) { desk_->history(answer); });
  ASSERT_TRUE(history) << history.error();
  ASSERT_EQ(history->size(), 3u);
  EXPECT_EQ(history->at(0).at("number"), 3);
  EXPECT_TRUE(history->at(0).at("active"));
  EXPECT_FALSE(asked([&](auto answer) { desk_->rollback(9, "uid 0", answer); }));
}

/// More documents than one transaction of the store may hold.
TEST_F(FleetMemberTest, ARevisionOfManyDocumentsIsWhole) {
  std::string text = pool(kTwo);
  for (int i = 0; i < 300; ++i)
    text += "[[service]]\nname = \"s" + std::to_string(i) +
            "\"\nvips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [" + std::to_string(1 + i) +
            "]\npool = \"web\"\n";
  start_dataplane();
  start();
  ASSERT_TRUE(apply(text));
  ASSERT_TRUE(settles());
  EXPECT_EQ(published().services().size(), 300u);
  const auto exported = asked([&](auto answer) { desk_->revision(1, answer); });
  ASSERT_TRUE(exported) << exported.error();
  EXPECT_EQ(exported->at("text"), text);
}

/// Who waits for a revision is answered when it is forwarded by, not by and by; else with what it waits for.
TEST_F(FleetMemberTest, WhoWaitsForARevisionIsAnsweredWhenItIsForwardedBy) {
  start();
  std::optional<tl::expected<json, std::string>> fate;
  ASSERT_TRUE(apply(pool(kTwo) + kService));
  desk_->await_in_force(1, [&](auto answer) { fate = std::move(answer); });
  ASSERT_TRUE(wait([&] { return member_->state().view.active_number() == 1; }));
  EXPECT_FALSE(fate) << "there is no data plane yet";
  start_dataplane();
  ASSERT_TRUE(settles());
  ASSERT_TRUE(fate);
  EXPECT_EQ((*fate)->at("in_force"), true);
  const auto later = asked([&](auto answer) { desk_->await_in_force(2, answer); });
  ASSERT_TRUE(later) << later.error();
  EXPECT_EQ(later->at("in_force"), false);
  EXPECT_THAT(later->at("waits_for").get<std::string>(), HasSubstr("revision 2"));
}

TEST_F(FleetMemberTest, ADrainIsAnsweredWhenItIsForwardedBy) {
  start_dataplane();
  start();
  ASSERT_TRUE(apply(pool(kTwo) + kService));
  ASSERT_TRUE(settles());
  const auto drained = asked([&](auto answer) { desk_->drain("web", "10.0.1.1", true, "uid 0", answer); });
  ASSERT_TRUE(drained) << drained.error();
  EXPECT_EQ(state_of("10.0.1.1"), LINIMO_BACKEND_DRAINING);
  EXPECT_FALSE(asked([&](auto answer) { desk_->drain("web", "10.0.1.9", true, "uid 0", answer); }));
}

TEST_F(FleetMemberTest, ARestartGoesByWhatIsRememberedAndPublishesNothing) {
  start_dataplane();
  start();
  ASSERT_TRUE(apply(pool(kTwo) + kService));
  ASSERT_TRUE(settles());
  const size_t before = fake_->published.size();
  fake_->live = fake_->published.back();
  fake_->welcome.generation = controller_->live_generation();
  stop();
  start();
  EXPECT_TRUE(member_->leads_tables());
  EXPECT_FALSE(member_->has_caught_up());
  EXPECT_EQ(controller_->config().services.size(), 1u);
  ASSERT_TRUE(settles());
  EXPECT_TRUE(wait([&] { return member_->has_caught_up(); }));
  EXPECT_EQ(member_->state().own.live.revision, 1u);
  EXPECT_EQ(fake_->published.size(), before);
}

/// A node whose slots are unsettled, and which is then another one: what it forwards by is asked again.
class FleetHistoryTest : public FleetMemberTest {
 protected:
  void begin() {
    start_dataplane();
    start();
    ASSERT_TRUE(apply(pool(kTwo) + kAdaptive));
    ASSERT_TRUE(settles());
    ASSERT_TRUE(asked([&](auto answer) { desk_->drain("web", "10.0.1.1", true, "uid 0", answer); }));
  }
  std::map<uint32_t, Address> unsettled() const {
    std::map<uint32_t, Address> bases;
    const linimo_pool& pool = published().pools()[0];
    for (const linimo_unsettled& slot : published().unsettled(pool))
      bases[slot.slot] = Address::from_abi(published().backends(pool)[slot.base].address);
    return bases;
  }
  void begin_anew(std::initializer_list<const char*> forgets) {
    stop();
    fake_.reset();
    for (const char* file : forgets) std::filesystem::remove(folder_.path() / file);
    start_dataplane();
    start();
    ASSERT_TRUE(settles());
  }

  static constexpr const char* kAdaptive =
      "[[service]]\nname = \"s\"\nvips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\npool = "
      "\"web\"\ntracking = \"adaptive\"\n";
};

TEST_F(FleetHistoryTest, ANodeThatKnowsNothingLearnsWhichSlotsAreUnsettled) {
  begin();
  const auto here = unsettled();
  ASSERT_GT(here.size(), 100u) << "about half of 251 slots had the backend that drains";
  begin_anew({"fleet.json", "ids.json"});
  EXPECT_EQ(unsettled(), here);
}

/// Tables are made from revision and state: what the earlier revision's were is read from the store.
TEST_F(FleetHistoryTest, ANodeThatKnowsNothingLearnsWhatWasInForceBeforeThisRevision) {
  begin();
  const std::string third = "{ address = \"10.0.1.3\" }";
  ASSERT_TRUE(apply(pool(std::string(kTwo) + ", " + third) + kAdaptive));
  ASSERT_TRUE(wait([&] { return member_->state().own.live.revision == 2; }));
  const auto here = unsettled();
  ASSERT_GT(here.size(), 120u) << "those of the one that drains, and those that the new one took";
  begin_anew({"fleet.json", "ids.json"});
  EXPECT_EQ(unsettled(), here);
}

/// A machine that was restarted remembers a revision and a state, but not for how long it was away.
TEST_F(FleetHistoryTest, ANodeThatRemembersLearnsItFromTheStore) {
  begin();
  const auto here = unsettled();
  begin_anew({});
  EXPECT_TRUE(wait([&] { return unsettled() == here; }));
}

TEST_F(FleetMemberTest, ItsOwnFileCountsUntilThereIsARevision) {
  write_config(pool("{ address = \"10.0.1.9\" }") + kService);
  start_dataplane();
  start();
  ASSERT_TRUE(wait([&] { return controller_->up_to_date(); }));
  EXPECT_EQ(state_of("10.0.1.9"), LINIMO_BACKEND_UP);
  ASSERT_TRUE(apply(pool(kTwo) + kService));
  ASSERT_TRUE(settles());
  EXPECT_EQ(backends(), 2u);
  EXPECT_EQ(state_of("10.0.1.2"), LINIMO_BACKEND_UP);
}

TEST_F(FleetMemberTest, ItsOwnFileIsReloadedBesideTheFleetsDocuments) {
  start_dataplane();
  start();
  ASSERT_TRUE(apply(pool(kTwo) + kService));
  ASSERT_TRUE(settles());
  write_config("[metrics]\nlisten = \"127.0.0.1:9310\"\n");
  ASSERT_TRUE(controller_->reload("test"));
  EXPECT_TRUE(controller_->config().metrics.listen);
  EXPECT_EQ(controller_->config().services.size(), 1u);
}

}  // namespace
}  // namespace linimo
