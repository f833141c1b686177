// Whatever an operator meets by name stands in the handbook, and nothing that he cannot meet.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "maglev/abi.h"
#include "maglev/condition.h"
#include "maglev/counters.h"

namespace linimo {
namespace {

class Handbook : public testing::Test {
 protected:
  void SetUp() override {
    const char* docs = std::getenv("LINIMO_DOCS");
    if (docs == nullptr) GTEST_SKIP() << "LINIMO_DOCS is set by `meson test`";
    std::ifstream file(std::string(docs) + "/operations.md");
    text_.assign(std::istreambuf_iterator<char>(file), {});
    ASSERT_FALSE(text_.empty());
  }

  /// The rows of a section's table, by the name in the first column.
  std::map<std::string, std::string> rows(const std::string& section) const {
    const size_t begin = text_.find("\n## " + section + "\n");
    EXPECT_NE(begin, std::string::npos) << section;
    std::istringstream lines(text_.substr(begin, text_.find("\n## ", begin + 1) - begin));
    std::map<std::string, std::string> found;
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("| `")) continue;
      EXPECT_TRUE(found.emplace(line.substr(3, line.find('`', 3) - 3), line).second) << line;
    }
    return found;
  }

  static std::set<std::string> names(const std::map<std::string, std::string>& rows) {
    std::set<std::string> found;
    for (const auto& [name, row] : rows) found.insert(name);
    return found;
  }

  std::string text_;
};

TEST_F(Handbook, SaysOfEachOutcomeWhatItMeansAndWhatToDo) {
  const auto told = rows("Outcomes");
  std::set<std::string> outcomes;
  for (int i = 0; i < LINIMO_OUTCOME_COUNT; ++i)
    outcomes.insert(outcome_name(static_cast<linimo_outcome>(i)));
  EXPECT_EQ(names(told), outcomes);
  for (const auto& [name, row] : told) {
    EXPECT_EQ(std::count(row.begin(), row.end(), '|'), 4) << row;
    EXPECT_EQ(row.find("|  |"), std::string::npos) << row;
  }
}

TEST_F(Handbook, SaysOfEachConditionWhatItMeansAndHowSoonItActs) {
  const auto told = rows("Watched conditions");
  std::set<std::string> conditions;
  for (const ConditionKind& kind : condition_kinds()) {
    conditions.emplace(kind.name);
    const auto at = told.find(std::string(kind.name));
    ASSERT_NE(at, told.end()) << kind.name;
    EXPECT_TRUE(at->second.starts_with(fmt::format("| `{}` | {} |", kind.name, kind.meaning))) << at->second;
    const auto seconds = [](auto time) {
      return std::chrono::duration_cast<std::chrono::seconds>(time).count();
    };
    EXPECT_TRUE(at->second.ends_with(
        fmt::format("| {} s, {} s |", seconds(kind.fails_after), seconds(kind.holds_after))))
        << at->second;
  }
  EXPECT_EQ(names(told), conditions);
}

}  // namespace
}  // namespace linimo
