// The contract of dataplane/forward/address_filter.h: no member is missed, and few strangers are taken for
// one.

#include "dataplane/forward/address_filter.h"

#include <gtest/gtest.h>

namespace linimo {
namespace {

AddressWords member(uint32_t number) {
  return AddressWords::v4(__builtin_bswap32(0x0a00'0000 + number));
}

AddressWords stranger(uint32_t number) {
  return {0x2001'0db8'0000'0000, number};
}

TEST(AddressFilter, EveryMemberIsFoundAndFewStrangersAre) {
  for (const uint32_t members : {1U, 3U, 4U, 1000U, 20'000U}) {
    AddressFilter filter(members);
    for (uint32_t i = 0; i < members; ++i) filter.add(member(i));
    for (uint32_t i = 0; i < members; ++i) ASSERT_TRUE(filter.may_contain(member(i))) << i;
    uint32_t taken = 0;
    for (uint32_t i = 0; i < 10'000; ++i) taken += filter.may_contain(stranger(i)) ? 1U : 0U;
    EXPECT_LT(taken, 10'000 / 8) << members << " members";
  }
}

TEST(AddressFilter, AnEmptyOneContainsNothing) {
  const AddressFilter filter(0);
  for (uint32_t i = 0; i < 1000; ++i) EXPECT_FALSE(filter.may_contain(stranger(i)));
}

}  // namespace
}  // namespace linimo
