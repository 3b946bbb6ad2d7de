// Which tile wins, on a device whose times are made up.
#include "backends/device/tune_tiles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "backends/opencl/conv_tiles.h"
#include "model/passes/passes.h"
#include "tests/backends/opencl/golden_models.h"
#include "tests/fakes/fake_clock.h"

namespace bitmill {
namespace {

using testing::HasSubstr;

// What a step takes with so many rows, in ns.
using StepTime = std::function<int64_t(const DeviceStep& step, int64_t rows)>;

struct MadeUp {
  StepTime time;
  int64_t launch_ns = 0;  // that the clock goes on with each launch
  FakeClock clock;
  int launches = 0;
  std::map<std::string, std::string> kept;
};

class MadeUpStream final : public DeviceStream {
 public:
  MadeUpStream(MadeUp& device, const DevicePlan& plan, const HostLayout& layout)
      : device_(device), plan_(plan), host_(static_cast<size_t>(layout.bytes)) {}

  std::byte* host() const override { return const_cast<std::byte*>(host_.data()); }
  absl::Status Write(int32_t, int64_t, int32_t) override { return absl::OkStatus(); }
  absl::Status Read(int32_t, int64_t, int32_t) override { return absl::OkStatus(); }
  absl::Status Launch(size_t step, int64_t rows, int32_t operation) override {
    ++device_.launches;
    device_.clock.Advance(device_.launch_ns);
    times_.emplace_back(operation, device_.time(plan_.steps[step], rows));
    return absl::OkStatus();
  }
  absl::Status Finish() override { return absl::OkStatus(); }
  void TakeTimes(absl::Span<int64_t> ns) override {
    for (const auto& [operation, time] : times_) ns[static_cast<size_t>(operation)] += time;
    times_.clear();
  }

 private:
  MadeUp& device_;
  const DevicePlan& plan_;
  std::vector<std::byte> host_;
  std::vector<std::pair<int32_t, int64_t>> times_;
};

class MadeUpPlan final : public UploadedPlan {
 public:
  explicit MadeUpPlan(MadeUp& device) : device_(device) {}
  absl::StatusOr<std::unique_ptr<DeviceStream>> NewStream(const DevicePlan& plan,
                                                          const HostLayout& layout) const override {
    return std::make_unique<MadeUpStream>(device_, plan, layout);
  }

 private:
  MadeUp& device_;
};

class MadeUpDevice final : public PlanDevice {
 public:
  explicit MadeUpDevice(MadeUp& device) : device_(device) {}
  std::string backend_name() const override { return "made up"; }
  std::string name() const override { return "made up"; }
  std::string Description() const override { return "made up"; }
  ChooseConvTile conv_tiles() const override { return DefaultConvTile; }
  std::vector<ConvTile> OtherTiles(const ConvShape& shape) const override {
    return PossibleTiles(shape);
  }
  absl::StatusOr<std::string> LoadKept(const std::string& name) const override {
    const auto found = device_.kept.find(name);
    if (found == device_.kept.end()) return absl::NotFoundError(name);
    return found->second;
  }
  absl::Status Keep(const std::string& name, const std::string& bytes) const override {
    device_.kept[name] = bytes;
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<UploadedPlan>> Upload(const DevicePlan&) const override {
    return std::make_unique<MadeUpPlan>(device_);
  }

 private:
  MadeUp& device_;
};

// Blocks with runs of 4 in groups of 32 take half of what every other tile takes.
int64_t RunsOf4AreFast(const DeviceStep& step, int64_t rows) {
  const bool fast =
      step.kernel == kBlockKernel && step[device::kRun] == 4 && step.group_items == 32;
  return rows * (fast ? 1000 : 2000);
}

ConvTile RunsOf4(const ConvShape&) { return {.run = 4, .group_items = 32}; }

class TuneTilesTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto golden = ReadGoldenCase("fmnist_wide_w1a1");
    ASSERT_TRUE(golden.ok()) << golden.status();
    auto lowered = Lower(golden->graph);
    ASSERT_TRUE(lowered.ok()) << lowered.status();
    lowered_ = *std::move(lowered);
    device_.time = RunsOf4AreFast;
  }
  TileTuning Tune(double seconds) {
    return TuneTiles(std::make_shared<MadeUpDevice>(device_), lowered_, 8, seconds, device_.clock);
  }
  // For all convolutions that have blocks and a line of 4 pixels.
  void ExpectChosen(const TileTuning& tuning, const ChooseConvTile& wanted) {
    int seen = 0;
    const auto plan = BuildDevicePlan(lowered_, 8, [&](const ConvShape& shape) {
      const ConvTile tile = tuning.choose(shape);
      if (shape.has_blocks() && shape.max_run() >= 4) {
        ++seen;
        EXPECT_TRUE(tile == wanted(shape)) << shape.Key() << ": " << tile.Text();
      }
      return tile;
    });
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_GT(seen, 0);
  }

  Graph lowered_;
  MadeUp device_;
};

TEST_F(TuneTilesTest, TakesTheTileThatIsFasterByMuch) {
  const TileTuning tuning = Tune(1.0);
  EXPECT_GT(tuning.measured, 0);
  EXPECT_EQ(tuning.untried, 0);
  EXPECT_GT(tuning.gain, 1.0);
  ExpectChosen(tuning, RunsOf4);
  EXPECT_THAT(tuning.Text(), HasSubstr("times as fast"));
}

TEST_F(TuneTilesTest, WhatWasMeasuredIsNotMeasuredAgain) {
  const int measured = Tune(1.0).measured;
  EXPECT_EQ(device_.kept.size(), static_cast<size_t>(measured));
  device_.launches = 0;
  for (const double seconds : {0.0, 1.0}) {
    const TileTuning again = Tune(seconds);
    EXPECT_EQ(again.kept, measured);
    EXPECT_EQ(again.measured, 0);
    ExpectChosen(again, RunsOf4);
  }
  EXPECT_EQ(device_.launches, 0);
}

TEST_F(TuneTilesTest, WithoutTimeNothingRuns) {
  const TileTuning tuning = Tune(0.0);
  EXPECT_EQ(device_.launches, 0);
  EXPECT_EQ(tuning.Text(), "");
  ExpectChosen(tuning, DefaultConvTile);
}

TEST_F(TuneTilesTest, WhatTheTimeDoesNotAllowStaysAsItWas) {
  device_.launch_ns = 400'000'000;
  const TileTuning tuning = Tune(1.0);
  EXPECT_GT(tuning.untried, 0);
  EXPECT_EQ(tuning.measured, 0);
  EXPECT_LT(device_.launches, 40);
  EXPECT_THAT(tuning.Text(), HasSubstr("no time for"));
  ExpectChosen(tuning, DefaultConvTile);
}

TEST_F(TuneTilesTest, ATileThatLosesWithOneRowIsNotTaken) {
  device_.time = [](const DeviceStep& step, int64_t rows) {
    const bool other = step.kernel == kBlockKernel && step[device::kRun] == 4;
    return rows > 1 ? (other ? 4000 : 8000) : (other ? 1200 : 1000);
  };
  const TileTuning tuning = Tune(1.0);
  ExpectChosen(tuning, DefaultConvTile);
}

TEST_F(TuneTilesTest, ASmallGainIsNotTaken) {
  device_.time = [](const DeviceStep& step, int64_t rows) {
    return RunsOf4AreFast(step, rows) == rows * 1000 ? rows * 1950 : rows * 2000;
  };
  const TileTuning tuning = Tune(1.0);
  EXPECT_GT(tuning.measured, 0);
  ExpectChosen(tuning, DefaultConvTile);
}

TEST_F(TuneTilesTest, ADriverThatDoesNotTimeLeavesTheUsualTiles) {
  device_.time = [](const DeviceStep&, int64_t) { return 0; };
  const TileTuning tuning = Tune(1.0);
  EXPECT_EQ(tuning.measured, 0);
  EXPECT_TRUE(device_.kept.empty());
  ExpectChosen(tuning, DefaultConvTile);
}

TEST_F(TuneTilesTest, WhatIsKeptButIsNoTileIsMeasuredAnew) {
  const int measured = Tune(1.0).measured;
  for (auto& [name, bytes] : device_.kept) bytes[0] = 3;  // a run that is no candidate
  const TileTuning tuning = Tune(1.0);
  EXPECT_EQ(tuning.kept, 0);
  EXPECT_EQ(tuning.measured, measured);
  for (auto& [name, bytes] : device_.kept) bytes.resize(bytes.size() - 1);
  EXPECT_EQ(Tune(0.0).kept, 0);
}

}  // namespace
}  // namespace bitmill
