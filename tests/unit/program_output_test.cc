// A program that hangs takes no longer than it is given, and leaves nothing behind.

#include "controlplane/cli/program_output.h"

#include <cerrno>
#include <csignal>

#include <gtest/gtest.h>

namespace linimo {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

TEST(ProgramOutput, IsWhatItWroteWhateverItEndsWith) {
  EXPECT_EQ(output_of("printf said; echo complaint >&2; exit 3", Clock::now() + milliseconds(5000)), "said");
  EXPECT_EQ(output_of("/nonexistent", Clock::now() + milliseconds(5000)), "");
}

/// Itself and what it started are killed.
TEST(ProgramOutput, EndsInTime) {
  const auto begun = Clock::now();
  const std::string said = output_of("sleep 60 & echo $!; wait", begun + milliseconds(300));
  EXPECT_LT(Clock::now() - begun, milliseconds(5000));
  const pid_t grandchild = std::stoi(said);
  while (kill(grandchild, 0) == 0 && Clock::now() - begun < milliseconds(5000)) continue;  // init reaps it
  EXPECT_EQ(kill(grandchild, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

}  // namespace
}  // namespace linimo
