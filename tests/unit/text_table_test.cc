// Tables for people: columns line up, numbers are readable, lines of a log cannot be forged.

#include "controlplane/cli/text_table.h"

#include <gtest/gtest.h>

#include "controlplane/log.h"

namespace linimo {
namespace {

TEST(TextTableTest, LinesUp) {
  TextTable table({"NAME", ">COUNT", "REST"});
  table.add({"a", "1,000", "x"});
  table.add({"longer", "7", ""});
  EXPECT_EQ(table.render(), "NAME    COUNT  REST\na       1,000  x\nlonger      7\n");
}

TEST(TextTableTest, WritesNumbersAsPeopleReadThem) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1234567), "1,234,567");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(UINT64_MAX), "16384.0 PiB");
}

TEST(LogTest, QuotesWhatCouldBeMistaken) {
  EXPECT_EQ(log_line("started", {{"pid", 7}, {"node", "lb1"}}), "msg=started pid=7 node=lb1");
  EXPECT_EQ(log_line("two words", {{"why", "a\nlevel=error \"b\""}}),
            "msg=\"two words\" why=\"a\\x0alevel=error \\\"b\\\"\"");
  EXPECT_EQ(log_line("x", {{"empty", ""}}), "msg=x empty=\"\"");
}

}  // namespace
}  // namespace linimo
