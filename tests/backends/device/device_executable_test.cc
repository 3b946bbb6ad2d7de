// Which batches are recorded, what a batch is computed as, and in what order its shares are handed
// over. What devices do with them: tests/backends/cuda, tests/backends/opencl.
#include "backends/device/device_executable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

DevicePlan PlanOf(int64_t max_rows, size_t steps, int64_t row_macs) {
  DevicePlan plan;
  plan.max_rows = max_rows;
  plan.steps.resize(steps);
  plan.row_macs = row_macs;
  return plan;
}

TEST(DeviceExecutableTest, PowersOfTwoAndTheLargestBatchAreRecorded) {
  EXPECT_THAT(RecordedSizes(PlanOf(1, 3, 1)), ElementsAre(1));
  EXPECT_THAT(RecordedSizes(PlanOf(8, 3, 1)), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(RecordedSizes(PlanOf(100, 3, 1)), ElementsAre(1, 2, 4, 8, 16, 32, 64, 100));
}

TEST(DeviceExecutableTest, PlanWithAHostStepIsNotRecorded) {
  DevicePlan plan = PlanOf(8, 3, 1);
  plan.steps[1].host = std::make_shared<HostStep>();
  EXPECT_THAT(RecordedSizes(plan), IsEmpty());
}

TEST(DeviceExecutableTest, SmallModelsArePaddedToTheNextSize) {
  const DevicePlan plan = PlanOf(100, 10, 100'000);
  const std::vector<int64_t> sizes = RecordedSizes(plan);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 1), 1);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 5), 8);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 65), 100);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 100), 100);
}

// A row is 5 launches' worth: of 10 launches saved, two rows of padding are paid.
TEST(DeviceExecutableTest, LargeModelsArePaddedAsFarAsLaunchesPayForIt) {
  const DevicePlan plan = PlanOf(64, 10, 100'000'000);
  const std::vector<int64_t> sizes = RecordedSizes(plan);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 6), 8);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 5), 0);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 33), 0);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 64), 64);
}

TEST(DeviceExecutableTest, NothingRecordedNothingPadded) {
  EXPECT_EQ(RecordedSizeFor({}, PlanOf(8, 3, 1), 3), 0);
}

// A device that copies what it is given into its output when it is waited for, and notes each call
// with the number of its stream.
class NotingDevice final : public PlanDevice {
 public:
  std::string backend_name() const override { return "noting"; }
  std::string name() const override { return "device"; }
  std::string Description() const override { return "a device"; }
  ChooseConvTile conv_tiles() const override { return DefaultConvTile; }
  bool overlaps_copies() const override { return true; }
  absl::StatusOr<std::unique_ptr<UploadedPlan>> Upload(const DevicePlan& /*plan*/) const override {
    return std::make_unique<Uploaded>(*this);
  }

  mutable std::vector<std::string> calls;
  int failing_stream = -1;  // when it is waited for

 private:
  class Stream final : public DeviceStream {
   public:
    Stream(const NotingDevice& device, int number, const DevicePlan& plan, const HostLayout& layout)
        : device_(device),
          number_(number),
          layout_(layout),
          stride_(plan.buffers[0].stride),
          host_(static_cast<size_t>(layout.bytes)) {}
    std::byte* host() const override { return host_.data(); }
    absl::Status Write(int32_t /*buffer*/, int64_t rows, int32_t /*operation*/) override {
      return Note("in", rows);
    }
    absl::Status Read(int32_t /*buffer*/, int64_t rows, int32_t /*operation*/) override {
      return Note("out", rows);
    }
    absl::Status Launch(size_t /*step*/, int64_t rows, int32_t /*operation*/) override {
      rows_ = rows;
      return Note("run", rows);
    }
    absl::Status Finish() override {
      std::memcpy(host_.data() + layout_.offsets[1], host_.data() + layout_.offsets[0],
                  static_cast<size_t>(rows_ * stride_));
      device_.calls.push_back(absl::StrCat(number_, " wait"));
      return number_ == device_.failing_stream ? absl::UnavailableError("gone") : absl::OkStatus();
    }
    void TakeTimes(absl::Span<int64_t> ns) override { ns[1] += 5; }

   private:
    absl::Status Note(const char* what, int64_t rows) {
      device_.calls.push_back(absl::StrCat(number_, " ", what, " ", rows));
      return absl::OkStatus();
    }
    const NotingDevice& device_;
    const int number_;
    const HostLayout& layout_;
    const int64_t stride_;
    mutable std::vector<std::byte> host_;
    int64_t rows_ = 0;
  };
  struct Uploaded final : UploadedPlan {
    explicit Uploaded(const NotingDevice& its_device) : device(its_device) {}
    absl::StatusOr<std::unique_ptr<DeviceStream>> NewStream(
        const DevicePlan& plan, const HostLayout& layout) const override {
      return std::make_unique<Stream>(device, streams++, plan, layout);
    }
    const NotingDevice& device;
    mutable int streams = 0;
  };
};

// Rows of 64 bytes in and out, one step.
class SharesTest : public testing::Test {
 protected:
  static DevicePlan CopyPlan(int64_t rows) {
    DevicePlan plan = PlanOf(rows, 1, 1);
    plan.buffers.resize(2);
    for (DeviceBuffer& buffer : plan.buffers) buffer.row_bytes = buffer.stride = 64;
    plan.inputs.push_back({0, nullptr, nullptr});
    plan.outputs.push_back({1, nullptr, nullptr});
    plan.arena_bytes = rows * 128;
    return plan;
  }
  std::unique_ptr<DeviceExecutable> Make(int64_t share_rows, int64_t max_rows) const {
    const TensorSpec bytes{"bytes", DType::kUInt8, {64}, 64};
    return *DeviceExecutable::Create(device_, Signature{{bytes}, {bytes}, true},
                                     CopyPlan(share_rows), max_rows);
  }
  // Runs rows of different bytes; whether each came back.
  absl::Status Run(const DeviceExecutable& executable, int64_t rows, OperationTimes* times) const {
    const auto context = executable.CreateContext();
    std::vector<std::vector<std::byte>> in, out;
    std::vector<const std::byte*> from;
    std::vector<std::byte*> to;
    for (int64_t r = 0; r < rows; ++r) {
      in.emplace_back(64, static_cast<std::byte>(r + 1));
      out.emplace_back(64);
    }
    for (size_t r = 0; r < in.size(); ++r) {
      from.push_back(in[r].data());
      to.push_back(out[r].data());
    }
    const std::byte* const* const inputs = from.data();
    std::byte* const* const outputs = to.data();
    const BatchRows batch{rows, absl::MakeConstSpan(&inputs, 1), absl::MakeConstSpan(&outputs, 1)};
    const absl::Status status = times == nullptr ? executable.Run(batch, *context)
                                                 : executable.RunTimed(batch, *context, *times);
    EXPECT_TRUE(!status.ok() || in == out);
    return status;
  }

  const std::shared_ptr<NotingDevice> device_ = std::make_shared<NotingDevice>();
};

TEST_F(SharesTest, ASecondShareIsHandedOverBeforeTheFirstIsWaitedFor) {
  const auto executable = Make(4, 7);
  EXPECT_EQ(executable->max_rows(), 7);
  EXPECT_EQ(executable->arena_bytes(), 2 * 4 * 128);
  ASSERT_TRUE(Run(*executable, 7, nullptr).ok());
  EXPECT_THAT(device_->calls, ElementsAre("0 in 4", "0 run 4", "0 out 4", "1 in 3", "1 run 3",
                                          "1 out 3", "0 wait", "1 wait"));
}

TEST_F(SharesTest, ABatchThatFitsAShareIsOne) {
  ASSERT_TRUE(Run(*Make(4, 7), 4, nullptr).ok());
  EXPECT_THAT(device_->calls, ElementsAre("0 in 4", "0 run 4", "0 out 4", "0 wait"));
}

TEST_F(SharesTest, BatchesOfAllSizesComeBack) {
  const auto executable = Make(4, 8);
  for (int64_t rows = 1; rows <= 8; ++rows) EXPECT_TRUE(Run(*executable, rows, nullptr).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(Run(*executable, 9, nullptr)));
}

TEST_F(SharesTest, ATimedBatchRunsShareByShare) {
  const auto executable = Make(4, 7);
  std::vector<int64_t> ns(executable->operations().size(), 0);
  OperationTimes times{absl::MakeSpan(ns), 0};
  ASSERT_TRUE(Run(*executable, 5, &times).ok());
  EXPECT_THAT(device_->calls, ElementsAre("0 in 3", "0 run 3", "0 out 3", "0 wait", "1 in 2",
                                          "1 run 2", "1 out 2", "1 wait"));
  EXPECT_EQ(times.rows, 5);
  EXPECT_EQ(ns[1], 10);
}

TEST_F(SharesTest, AnErrorOfOneShareIsTheBatchsAfterAllWereWaitedFor) {
  device_->failing_stream = 0;
  EXPECT_TRUE(absl::IsUnavailable(Run(*Make(4, 7), 7, nullptr)));
  EXPECT_EQ(device_->calls.back(), "1 wait");
  device_->failing_stream = 1;
  EXPECT_TRUE(absl::IsUnavailable(Run(*Make(4, 7), 7, nullptr)));
}

TEST_F(SharesTest, BatchesThatCopyMuchAreHalved) {
  // 16384 bytes a row: 64 rows are a megabyte.
  DevicePlan plan = CopyPlan(64);
  for (DeviceBuffer& buffer : plan.buffers) buffer.stride = 8192;
  EXPECT_EQ(ShareRows(*device_, plan), 32);
  plan.max_rows = 63;
  EXPECT_EQ(ShareRows(*device_, plan), 63) << "less than a megabyte";
  plan.buffers[0].stride = 1 << 20;
  EXPECT_EQ(ShareRows(*device_, plan), 32);
  plan.max_rows = 8;
  EXPECT_EQ(ShareRows(*device_, plan), 8) << "few rows";
  plan.max_rows = 64;
  plan.steps[0].host = std::make_shared<HostStep>();
  EXPECT_EQ(ShareRows(*device_, plan), 64) << "a host step waits for the device";
}

}  // namespace
}  // namespace bitmill
