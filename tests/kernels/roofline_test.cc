#include "kernels/roofline/roofline.h"

#include <gtest/gtest.h>

#include "kernels/roofline/kernel_suite.h"

namespace bitmill {
namespace {

TEST(RooflineTest, EveryLevelOfThisMachineHasCeilings) {
  for (const Isa isa : {Isa::kRef, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vpopcnt, Isa::kNeon}) {
    if (!IsaAllows(BestIsa(), isa)) continue;
    const Roofline roofline = MeasureRoofline(isa, 0.1);
    EXPECT_GT(roofline.bit_macs_per_s, roofline.fp32_macs_per_s) << IsaName(isa);
    EXPECT_GT(roofline.bit_popcount_macs_per_s, 0) << IsaName(isa);
    EXPECT_GT(roofline.low_bit_int8_macs_per_s, 0) << IsaName(isa);
    EXPECT_GT(roofline.l1_bytes_per_s, 0) << IsaName(isa);
    EXPECT_GT(roofline.l2_bytes_per_s, 0) << IsaName(isa);
    EXPECT_GT(roofline.l3_bytes_per_s, 0) << IsaName(isa);
    EXPECT_GT(roofline.dram_bytes_per_s, 0) << IsaName(isa);
  }
}

TEST(RooflineTest, ReadCeilingIsThatOfTheSmallestLevelThatHolds) {
  Roofline roofline = {};
  roofline.l1_bytes_per_s = 4;
  roofline.dram_bytes_per_s = 1;
  EXPECT_EQ(ReadCeiling(roofline, 1024), 4);
  EXPECT_EQ(ReadCeiling(roofline, 1e12), 1);
}

TEST(KernelSuiteTest, AllKernelsAreRightAndTimed) {
  KernelSuiteOptions options;
  options.batches = {2};
  options.filter = "7x7x512";
  options.seconds = 0;
  options.roofline_seconds = 0.1;
  double done = -1;
  options.progress = [&done](double part, const std::string& label) {
    EXPECT_GT(part, done);
    EXPECT_FALSE(label.empty());
    done = part;
  };
  const std::vector<KernelRecord> records = RunKernelSuite(options);
  EXPECT_LT(done, 1);
  ASSERT_GE(records.size(), 6u);  // bits, ternary, ternary x int8, two orders of packing, pooling
  for (const KernelRecord& record : records) {
    EXPECT_TRUE(record.right) << record.name << " " << record.kind;
    EXPECT_GT(record.value, 0) << record.name << " " << record.kind;
    EXPECT_GT(record.ceiling, 0) << record.name << " " << record.kind;
    EXPECT_NEAR(record.share, record.value / record.ceiling, 1e-9);
  }
}

}  // namespace
}  // namespace bitmill
