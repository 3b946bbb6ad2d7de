#include "backends/route_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_executable.h"

namespace bitmill {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kMicro = 1000;

TEST(RouteSizesTest, ArePowersOfTwoAndTheLargestBatch) {
  EXPECT_THAT(RouteSizes(1), ElementsAre(1));
  EXPECT_THAT(RouteSizes(8), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(RouteSizes(11), ElementsAre(1, 2, 4, 8, 11));
}

TEST(RouteTableTest, SizesBetweenLieOnALine) {
  const RouteTable table{.backend = "cpu", .rows = {1, 2, 4, 8, 11}, .ns = {10, 20, 30, 70, 100}};
  EXPECT_EQ(table.NsFor(1), 10);
  EXPECT_EQ(table.NsFor(3), 25);
  EXPECT_EQ(table.NsFor(4), 30);
  EXPECT_EQ(table.NsFor(6), 50);
  EXPECT_EQ(table.NsFor(9), 80);
  EXPECT_EQ(table.NsFor(11), 100);
  EXPECT_EQ(table.NsFor(40), 100);
  const RouteTable one{.backend = "cpu", .rows = {1}, .ns = {10}};
  EXPECT_EQ(one.NsFor(1), 10);
}

TEST(RouteTableTest, BreakEvenIsWhereTheDeviceIsFasterFromThenOn) {
  const std::vector<int64_t> rows = {1, 2, 4, 8};
  const RouteTable cpu{.backend = "cpu", .rows = rows, .ns = {10, 20, 40, 80}};
  const auto from = [&](std::vector<int64_t> ns) {
    return BreakEvenRows(cpu, {.backend = "gpu", .rows = rows, .ns = std::move(ns)});
  };
  EXPECT_EQ(from({30, 30, 30, 30}), 4);
  EXPECT_EQ(from({5, 5, 50, 50}), 8);  // the gain of the small ones does not last
  EXPECT_EQ(from({5, 5, 5, 5}), 1);
  EXPECT_EQ(from({10, 20, 40, 80}), 0);  // as fast is not faster
}

// An executable of which a batch takes `fixed_us` and `row_us` a row of the clock's time.
class MeasureRoutesTest : public testing::Test {
 protected:
  std::unique_ptr<FakeExecutable> NewBackend(const std::string& name, int64_t fixed_us,
                                             int64_t row_us, int64_t max_rows = 16) {
    auto executable =
        std::make_unique<FakeExecutable>(IdentitySignature(DType::kFloat32, {4}), max_rows);
    executable->backend = name;
    executable->before_run = [this, fixed_us, row_us](const BatchRows& batch) {
      clock_.Advance((fixed_us + row_us * batch.rows) * kMicro);
      return absl::OkStatus();
    };
    return executable;
  }

  FakeClock clock_;
};

TEST_F(MeasureRoutesTest, TablesSayHowLongBatchesTake) {
  const auto cpu = NewBackend("cpu", 0, 100), gpu = NewBackend("gpu", 500, 10);
  const auto tables = MeasureRoutes({cpu.get(), gpu.get()}, 16, {200'000 * kMicro}, clock_);
  ASSERT_TRUE(tables.ok()) << tables.status();
  ASSERT_EQ(tables->size(), 2U);
  const RouteTable &first = tables->front(), &second = tables->back();
  EXPECT_EQ(first.backend, "cpu");
  EXPECT_THAT(first.rows, ElementsAre(1, 2, 4, 8, 16));
  EXPECT_THAT(first.ns, ElementsAre(100'000, 200'000, 400'000, 800'000, 1'600'000));
  EXPECT_THAT(second.ns, ElementsAre(510'000, 520'000, 540'000, 580'000, 660'000));
  EXPECT_EQ(first.measured, 5);
  EXPECT_EQ(second.measured, 5);
  EXPECT_EQ(BreakEvenRows(first, second), 8);
}

TEST_F(MeasureRoutesTest, BudgetIsKeptAndWhatIsNotMeasuredIsEstimated) {
  const auto cpu = NewBackend("cpu", 0, 10'000, 64), gpu = NewBackend("gpu", 50'000, 1000, 64);
  const MonotonicNanos start = clock_.Now();
  const auto tables = MeasureRoutes({cpu.get(), gpu.get()}, 64, {400'000 * kMicro}, clock_);
  ASSERT_TRUE(tables.ok()) << tables.status();
  EXPECT_LE(clock_.Now() - start, 600'000 * kMicro);
  for (const RouteTable& table : *tables) {
    EXPECT_GE(table.measured, 1) << table.backend;
    EXPECT_LT(table.measured, 7) << table.backend;
    EXPECT_THAT(table.ns, Each(testing::Gt(0)));
    EXPECT_TRUE(std::is_sorted(table.ns.begin(), table.ns.end())) << table.backend;
  }
  EXPECT_EQ(tables->front().NsFor(64), 640'000 * kMicro);  // proportional to one row, as it is
}

TEST_F(MeasureRoutesTest, EstimatesFollowTheLineThroughWhatWasMeasured) {
  // A batch of 64 takes 68 ms, and would be run twice.
  const auto cpu = NewBackend("cpu", 4000, 1000, 64);
  const auto tables = MeasureRoutes({cpu.get()}, 64, {90'000 * kMicro}, clock_);
  ASSERT_TRUE(tables.ok()) << tables.status();
  const RouteTable& table = tables->front();
  EXPECT_LT(table.measured, 7);
  for (size_t i = 0; i < table.rows.size(); ++i) {
    EXPECT_EQ(table.ns[i], (4000 + 1000 * table.rows[i]) * kMicro) << table.rows[i];
  }
}

TEST_F(MeasureRoutesTest, MemoryIsCountedBeforeAnyIsTaken) {
  const auto cpu = NewBackend("cpu", 0, 100), other = NewBackend("gpu", 0, 100);
  cpu->arena = 1000;
  other->arena = int64_t{1} << 50;  // nobody has that
  constexpr int64_t kRowBytes = 4 * sizeof(float);
  const int64_t bytes = cpu->arena + other->arena + (1 + 16) * kRowBytes;
  const auto tables =
      MeasureRoutes({cpu.get(), other.get()}, 16, {1000 * kMicro, bytes - 1}, clock_);
  EXPECT_TRUE(absl::IsResourceExhausted(tables.status()));
  EXPECT_THAT(std::string(tables.status().message()),
              testing::AllOf(HasSubstr(absl::StrCat(bytes)), HasSubstr(absl::StrCat(bytes - 1)),
                             HasSubstr("batches of 16")));
  EXPECT_TRUE(cpu->batches().empty());
  EXPECT_TRUE(MeasureRoutes({cpu.get(), other.get()}, 16, {1000 * kMicro, bytes}, clock_).ok());
}

TEST_F(MeasureRoutesTest, ErrorsNameTheBackend) {
  const auto cpu = NewBackend("cpu", 0, 100), gpu = NewBackend("gpu", 0, 1);
  gpu->before_run = [](const BatchRows&) { return absl::UnavailableError("it is gone"); };
  const auto tables = MeasureRoutes({cpu.get(), gpu.get()}, 16, {1000 * kMicro}, clock_);
  EXPECT_TRUE(absl::IsUnavailable(tables.status()));
  EXPECT_THAT(std::string(tables.status().message()),
              testing::AllOf(HasSubstr("backend gpu"), HasSubstr("it is gone")));
}

}  // namespace
}  // namespace bitmill
