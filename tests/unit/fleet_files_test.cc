// What a member of a fleet keeps of a revision outlives a crash at any moment, and is refused if it is not
// that revision's.

#include <gtest/gtest.h>

#include "controlplane/member/memory.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

const Documents kFirst = {{"pool/web", "name = \"web\"\n"}, {"service/web", "ports = [80]\n"}};
const Documents kSecond = {{"pool/web", "name = \"web\"\nweight = 50\n"}};

TEST(FleetFiles, DocumentsAreFoundByTheirDigest) {
  const TemporaryFolder folder;
  const FleetFiles files(folder.path());
  EXPECT_FALSE(files.load_documents(1, digest_of(kFirst))) << "there are none";
  files.save_documents(kFirst);
  EXPECT_EQ(files.load_documents(1, digest_of(kFirst)), kFirst);
  EXPECT_FALSE(files.load_documents(0, digest_of(kFirst))) << "no revision is in force";
  EXPECT_FALSE(files.load_documents(1, digest_of(kSecond)));
}

// The memory, which says which revision counts, is saved after its documents: a crash in between leaves the
// revision before in force.
TEST(FleetFiles, ACrashBetweenDocumentsAndMemory) {
  const TemporaryFolder folder;
  const FleetFiles files(folder.path());
  files.save_documents(kFirst);
  files.save_documents(kSecond);
  EXPECT_EQ(files.load_documents(1, digest_of(kFirst)), kFirst);
  EXPECT_EQ(files.load_documents(2, digest_of(kSecond)), kSecond);
  std::filesystem::remove(folder.path() / "fleet-documents.json");  // it was being replaced
  EXPECT_EQ(files.load_documents(1, digest_of(kFirst)), kFirst);
}

TEST(FleetFiles, WhatIsTornOrMadeUpIsRefused) {
  const TemporaryFolder folder;
  const FleetFiles files(folder.path());
  for (const char* text :
       {"", "{", "[]", "7", "null", R"({"pool/web": 7})", R"({"pool/web": "other"})", "\xff\xfe"}) {
    folder.write("fleet-documents.json", text);
    EXPECT_FALSE(files.load_documents(1, digest_of(kFirst))) << text;
  }
}

}  // namespace
}  // namespace linimo
