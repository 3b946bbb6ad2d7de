#include "kernels/roofline/roofline.h"

#include <gtest/gtest.h>

#include "kernels/roofline/kernel_suite.h"
#include "kernels/roofline/sparse_suite.h"

namespace bitmill {
namespace {

TEST(RooflineTest, EveryLevelOfThisMachineHasCeilings) {
  for (const Isa isa : kAllIsas) {
    if (!IsaAllows(BestIsa(), isa)) continue;
    const Roofline roofline = MeasureRoofline(isa, 0.1);
    for (const CeilingInfo& info : CeilingInfos()) {
      EXPECT_GT(roofline[info.ceiling], 0) << IsaName(isa) << " " << info.key;
    }
    EXPECT_GT(roofline[Ceiling::kBit], roofline[Ceiling::kFp32]) << IsaName(isa);
    // On tiles both are products of bytes, of one speed.
    if (isa != Isa::kAmx) {
      EXPECT_GT(roofline[Ceiling::kBit], roofline[Ceiling::kTwoBit]) << IsaName(isa);
    }
    EXPECT_EQ(roofline.threads, 1);
  }
}

TEST(RooflineTest, ThreadsAddUp) {
  const Roofline roofline = MeasureRoofline(BestIsa(), 0.1, 2);
  EXPECT_EQ(roofline.threads, 2);
  for (const CeilingInfo& info : CeilingInfos()) EXPECT_GT(roofline[info.ceiling], 0) << info.key;
}

TEST(RooflineTest, InfosAreInTheOrderOfTheCeilings) {
  for (size_t i = 0; i < CeilingInfos().size(); ++i) {
    EXPECT_EQ(static_cast<size_t>(CeilingInfos()[i].ceiling), i);
  }
}

TEST(RooflineTest, ReadLevelIsTheSmallestThatHolds) {
  EXPECT_EQ(ReadLevel(1024), Ceiling::kReadL1);
  EXPECT_EQ(ReadLevel(1e12), Ceiling::kReadDram);
}

TEST(KernelSuiteTest, AllKernelsAreRightAndTimed) {
  KernelSuiteOptions options;
  options.batches = {2};
  options.filter = "7x7x512";
  options.seconds = 0;
  options.pairs = 3;
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
    EXPECT_GT(record.share, 0) << record.name << " " << record.kind;
    EXPECT_GE(record.spread, 0) << record.name << " " << record.kind;
  }
}

TEST(SparseSuiteTest, SparseFormsAreRightAndTimed) {
  SparseSuiteOptions options;
  options.filter = "14x14x256";
  options.densities = {0.25, 1.0};
  options.seconds = 0;
  options.pairs = 3;
  const std::vector<SparseRecord> records = RunSparseSuite(options);
  if (BestIsa() == Isa::kRef || BestIsa() == Isa::kNeon) {
    EXPECT_TRUE(records.empty());  // no such forms, or none worth timing
    return;
  }
  ASSERT_GE(records.size(), 4u);  // 1 bit, ternary, ternary x int8, int8 x int8
  for (const SparseRecord& record : records) {
    SCOPED_TRACE(record.name + " " + record.kind);
    EXPECT_TRUE(record.right);
    ASSERT_EQ(record.points.size(), 2u);
    for (const SparsePoint& point : record.points) EXPECT_GT(point.speed, 0);
    EXPECT_GE(record.break_even, 0.0);
    EXPECT_LE(record.break_even, 1.0);
  }
}

}  // namespace
}  // namespace bitmill
