// The named cases and the configuration that they run under, as cases.py wrote them at build time.
#pragma once

#include <iosfwd>
#include <map>
#include <string>
#include <vector>

#include "tests/packets/engine.h"

namespace linimo::tests {

struct Output {
  uint32_t port = 0;
  Bytes bytes;
  std::vector<Bytes> more =
      {};  // further frames, where the packet leaves in fragments; their identification is 0
};

/// What must become of one frame.
struct Expected {
  linimo_outcome outcome = LINIMO_OUTCOME_COUNT;  // none: the frame is held
  std::vector<Output> possible;                   // one of these leaves; none: nothing does
  std::string flow;                               // whose choice Case::Choice::kSame is about

  bool held() const { return outcome == LINIMO_OUTCOME_COUNT; }
};

/// One frame in; or, where `settles`, none: the engine settles, and held frames come of it.
struct Step : Expected {
  Bytes frame;
  bool settles = false;
  std::vector<Expected> released;  // in any order
};

struct Case {
  enum class Choice { kFree, kSame, kSpread };

  std::string name;
  std::string row;  // of the oracle's table
  Choice choice;    // over all steps: the same possibility for each flow, or each of them at least once
  bool ordered;     // a step depends on those before it
  std::string configuration;  // under which it runs
  std::vector<Step> steps;
};

struct CaseFile {
  Configuration configuration;                  // under which nearly all cases run: "main"
  std::map<std::string, Configuration> others;  // by name
  std::vector<Case> cases;

  const Configuration& configuration_of(const Case& of) const {
    return of.configuration == "main" ? configuration : others.at(of.configuration);
  }
};

/// Read once. Throws what is wrong with the file.
const CaseFile& case_file();

linimo_outcome outcome_named(const std::string& name);
std::string hex(ByteView bytes);
void PrintTo(const Case& shown, std::ostream* out);  // GoogleTest's name for it

}  // namespace linimo::tests
