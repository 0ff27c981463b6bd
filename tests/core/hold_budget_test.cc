#include "hardened/core/hold_budget.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "tests/support/seeded_stream.h"

namespace hardened::core {
namespace {

// How many of `count` that cost `cost` are admitted at `now_ms`.
int Admitted(HoldBudget& budget, int count, size_t cost, uint64_t now_ms) {
  static SeededStream random(20);
  int admitted = 0;
  for (int i = 0; i < count; ++i) {
    admitted += budget.Admit(cost, now_ms, static_cast<uint16_t>(random.Below(65536)));
  }
  return admitted;
}

TEST(HoldBudgetTest, AllIsAdmittedWhileLittleIsSpent) {
  HoldBudget budget(/*per_ms=*/10, /*most=*/10'000);
  EXPECT_EQ(Admitted(budget, 50, 100, 1000), 50);
  // What sinks with time.
  for (uint64_t ms = 1; ms <= 1000; ++ms) EXPECT_EQ(Admitted(budget, 1, 10, 1000 + ms), 1);
}

TEST(HoldBudgetTest, AboveTheRateARandomShareIsAdmitted) {
  HoldBudget budget(/*per_ms=*/10, /*most=*/10'000);
  Admitted(budget, 10'000, 1, 1000);
  int admitted = 0;
  for (uint64_t ms = 1; ms <= 1000; ++ms) admitted += Admitted(budget, 20, 1, 1000 + ms);
  EXPECT_GT(admitted, 9'000);
  EXPECT_LT(admitted, 13'000);
}

TEST(HoldBudgetTest, OneIn256IsAdmittedHoweverMuchIsFreed) {
  HoldBudget budget(/*per_ms=*/10, /*most=*/10'000);
  Admitted(budget, 100'000, 1, 1000);
  const int admitted = Admitted(budget, 256'000, 1, 1000);
  EXPECT_GT(admitted, 800);
  EXPECT_LT(admitted, 1200);
  const int dear = Admitted(budget, 256'000, 2560, 1000);
  EXPECT_GT(dear, 50);
  EXPECT_LT(dear, 170);
}

TEST(HoldBudgetTest, WithoutChanceNothingIsAdmittedAboveHalf) {
  HoldBudget budget(/*per_ms=*/10, /*most=*/10'000);
  EXPECT_TRUE(budget.Spend(1'000'000, 1000));
  EXPECT_FALSE(budget.Spend(1, 1000));
  EXPECT_FALSE(budget.Spend(1, 1499));
  EXPECT_TRUE(budget.Spend(1, 1500));
}

TEST(HoldBudgetTest, TimeIsKeptIn32Bits) {
  HoldBudget budget(/*per_ms=*/10, /*most=*/10'000);
  EXPECT_TRUE(budget.Spend(10'000, UINT32_MAX));
  EXPECT_FALSE(budget.Spend(1, uint64_t{UINT32_MAX} + 499));
  EXPECT_TRUE(budget.Spend(1, uint64_t{UINT32_MAX} + 500));
}

}  // namespace
}  // namespace hardened::core
