// The contract of dataplane/forward/address_set.h: members are found, and nobody else.

#include "dataplane/forward/address_set.h"

#include <gtest/gtest.h>

namespace linimo {
namespace {

AddressWords member(uint32_t number) {
  return AddressWords::v4(__builtin_bswap32(0x0a00'0000 + number));
}

AddressWords stranger(uint32_t number) {
  return {0x2001'0db8'0000'0000, number + 1};
}

TEST(AddressSet, MembersAreFoundAndNobodyElse) {
  for (const uint32_t members : {1U, 3U, 4U, 1000U, 20'000U}) {
    AddressSet set(members);
    for (uint32_t i = 0; i < members; ++i) {
      set.add(member(i));
      set.add(member(i));  // a backend of two pools
    }
    for (uint32_t i = 0; i < members; ++i) ASSERT_TRUE(set.contains(member(i))) << i;
    for (uint32_t i = 0; i < 10'000; ++i) {
      ASSERT_FALSE(set.contains(stranger(i))) << i;
      ASSERT_FALSE(set.contains(member(members + i))) << i;
    }
  }
}

TEST(AddressSet, AnEmptyOneContainsNothing) {
  const AddressSet set(0);
  for (uint32_t i = 0; i < 1000; ++i) EXPECT_FALSE(set.contains(stranger(i)));
  EXPECT_FALSE(set.contains({}));
}

}  // namespace
}  // namespace linimo
