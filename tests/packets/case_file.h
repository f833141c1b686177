// The named cases and the configuration that they run under, as cases.py wrote them at build time.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "tests/packets/engine.h"

namespace linimo::tests {

struct Output {
  uint32_t port = 0;
  Bytes bytes;
};

/// One frame in, and what must become of it.
struct Step {
  Bytes frame;
  linimo_outcome outcome;
  std::vector<Output> possible;  // one of these leaves; none: nothing does
};

struct Case {
  enum class Choice { kFree, kSame, kSpread };

  std::string name;
  std::string row;  // of packets.md
  Choice choice;    // over all steps: the same possibility, or each of them at least once
  std::vector<Step> steps;
};

struct CaseFile {
  Configuration configuration;
  std::vector<Case> cases;
};

/// Read once. Throws what is wrong with the file.
const CaseFile& case_file();

linimo_outcome outcome_named(const std::string& name);
std::string hex(ByteView bytes);
void PrintTo(const Case& shown, std::ostream* out);  // GoogleTest's name for it

}  // namespace linimo::tests
