#include "kernels/isa.h"

#include <gtest/gtest.h>

#include <cstring>

namespace bitmill {
namespace {

TEST(IsaTest, NamesAreReadBack) {
  for (const Isa isa : kAllIsas) {
    Isa parsed = Isa::kRef;
    EXPECT_TRUE(ParseIsa(IsaName(isa), &parsed)) << IsaName(isa);
    EXPECT_EQ(parsed, isa);
  }
}

TEST(IsaTest, UnknownNamesAreRefused) {
  Isa isa = Isa::kAvx2;
  for (const char* name : {"", "auto", "AVX2", "avx", "avx2 ", "sse2"}) {
    EXPECT_FALSE(ParseIsa(name, &isa)) << name;
  }
  EXPECT_EQ(isa, Isa::kAvx2);
}

TEST(IsaTest, ALevelAllowsThoseBeforeItInItsFamily) {
  EXPECT_TRUE(IsaAllows(Isa::kAmx, Isa::kAvx512Vpopcnt));
  EXPECT_TRUE(IsaAllows(Isa::kAvx512Vpopcnt, Isa::kAvx512));
  EXPECT_TRUE(IsaAllows(Isa::kAvx512, Isa::kAvx2));
  EXPECT_TRUE(IsaAllows(Isa::kRef, Isa::kRef));
  EXPECT_TRUE(IsaAllows(Isa::kNeon, Isa::kRef));
  EXPECT_FALSE(IsaAllows(Isa::kAvx2, Isa::kAvx512));
  EXPECT_FALSE(IsaAllows(Isa::kRef, Isa::kAvx2));
  EXPECT_FALSE(IsaAllows(Isa::kNeon, Isa::kAvx2));
  EXPECT_FALSE(IsaAllows(Isa::kAmx, Isa::kNeon));
  EXPECT_TRUE(IsaAllows(Isa::kAvxVnni, Isa::kAvx2));
  EXPECT_TRUE(IsaAllows(Isa::kAmx, Isa::kAvxVnni));
  EXPECT_FALSE(IsaAllows(Isa::kAvx512Vpopcnt, Isa::kAvxVnni));
  EXPECT_FALSE(IsaAllows(Isa::kAvxVnni, Isa::kAvx512));
  EXPECT_FALSE(IsaAllows(Isa::kAvx2, Isa::kAvxVnni));
}

TEST(IsaTest, TheMachineHasAModelName) { EXPECT_GT(std::strlen(CpuModelName()), 0u); }

}  // namespace
}  // namespace bitmill
