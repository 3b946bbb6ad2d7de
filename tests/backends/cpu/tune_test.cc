// Choices of kernels: the same bits whatever is chosen, and only what is faster is chosen.
#include "backends/cpu/tune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_executable.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/cpu/random_lowered.h"
#include "tests/fakes/fake_clock.h"

namespace bitmill {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr int64_t kRows = 4;

std::vector<Graph> GraphsWithLowBitLayers() {
  using Epilogue = LowBitConvOp::Epilogue;
  std::mt19937 random(5);
  std::vector<Graph> graphs;
  for (const Epilogue epilogue : {Epilogue::kFloat, Epilogue::kThresholds, Epilogue::kRequantize}) {
    for (const bool bits_in : {false, true}) {
      for (const int weight_bits : {1, 2, 8}) {
        for (const bool dense : {false, true}) {
          const bool bits_out = epilogue != Epilogue::kRequantize && bits_in;
          for (const int64_t channels : {0, 128}) {
            graphs.push_back(
                RandomLowered({bits_in, weight_bits, weight_bits == 2, epilogue, bits_out, dense,
                               channels, weight_bits == 2 && channels > 0},
                              random));
          }
        }
      }
    }
  }
  for (int i = 0; i < 8; ++i) graphs.push_back(RandomResidual(random));
  for (const bool bits_in : {false, true}) {  // in slices
    graphs.push_back(
        RandomLowered(LargeDense({bits_in, 2, true, Epilogue::kRequantize, false}), random));
  }
  return graphs;
}

// As in executables: floats around zero, or codes that any level allows.
RowBytes RowOf(const Signature& signature, std::mt19937& random) {
  RowBytes row;
  std::normal_distribution<float> normal(0.0F, 2.0F);
  for (const TensorSpec& input : signature.inputs) {
    std::vector<std::byte>& bytes = row.emplace_back(static_cast<size_t>(input.row_bytes));
    if (input.dtype != DType::kFloat32) continue;
    for (size_t at = 0; at + 4 <= bytes.size(); at += 4) {
      const float value = normal(random);
      std::memcpy(bytes.data() + at, &value, sizeof(value));
    }
  }
  return row;
}

// Every form that a step offers, and every size of blocks, one after the other.
std::vector<KernelChoices> AllChoices(const Plan& usual) {
  std::vector<KernelChoices> all;
  size_t forms = 1;
  for (const auto& [node, list] : usual.forms) forms = std::max(forms, list.size());
  for (size_t k = 0; k < forms; ++k) {
    for (const int32_t shift : {LayerChoice::kMinBlockShift, 0, 2, LayerChoice::kMaxBlockShift}) {
      KernelChoices choices;
      for (const auto& [node, list] : usual.forms) {
        if (k < list.size()) choices.layers[node] = list[k];
      }
      for (const StepPtr& step : usual.steps) {
        for (const int32_t node : step->info().nodes) choices.layers[node].block_shift = shift;
      }
      all.push_back(std::move(choices));
    }
  }
  return all;
}

TEST(TuneTest, EveryChoiceGivesTheSameBits) {
  std::mt19937 random(9);
  int compared = 0;
  std::string tried;
  for (const std::string& isa : IsasToTest()) {
    const KernelSet kernels = *SelectKernels(isa);
    for (const Graph& graph : GraphsWithLowBitLayers()) {
      const auto executable = CompileLowered(graph, isa, kRows);
      if (!executable.ok()) continue;
      const Plan& usual = static_cast<const CpuExecutable&>(**executable).plan();
      std::vector<RowBytes> rows;
      for (int i = 0; i < kRows; ++i) rows.push_back(RowOf((*executable)->signature(), random));
      const auto want = *RunRows(**executable, rows, 1);
      for (const KernelChoices& choices : AllChoices(usual)) {
        auto plan = BuildPlan(graph, kernels, kRows, 1, nullptr, &choices);
        ASSERT_TRUE(plan.ok()) << plan.status();
        ASSERT_EQ(plan->steps.size(), usual.steps.size());
        for (const auto& [node, choice] : choices.layers)
          absl::StrAppend(&tried, choice.Text(), ";");
        const CpuExecutable other((*executable)->signature(), *std::move(plan), kRows, "other");
        EXPECT_EQ(*RunRows(other, rows, 1), want);
        EXPECT_EQ(*RunRows(other, rows, kRows), want);
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 200);
  EXPECT_THAT(tried, HasSubstr("sparse"));
  EXPECT_THAT(tried, HasSubstr("dense"));
  EXPECT_THAT(tried, HasSubstr("blocks x 4"));
}

TEST(TuneTest, AKernelThatIsNotThereIsAnError) {
  std::mt19937 random(1);
  const Graph graph = RandomLowered({}, random);
  const KernelSet kernels = *SelectKernels("ref");
  const Plan usual = *BuildPlan(graph, kernels, 1);
  KernelChoices choices;
  for (const StepPtr& step : usual.steps) {
    for (const int32_t node : step->info().nodes) choices.layers[node].kernel = "bconv_avx2";
  }
  ASSERT_FALSE(choices.layers.empty());
  const auto plan = BuildPlan(graph, kernels, 1, 1, nullptr, &choices);
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(plan.status().message()), HasSubstr("bconv_avx2"));
}

// One layer in blocks, whose time is what the test says of its choice.
class TunerTest : public testing::Test {
 protected:
  using Micros = std::function<double(const std::string& choice, int64_t rows)>;

  TunerTest() {
    std::mt19937 random(3);
    for (;;) {
      graph_ = RandomLowered(
          {false, 8, false, LowBitConvOp::Epilogue::kRequantize, false, false, 64}, random);
      const auto plan = BuildPlan(graph_, *SelectKernels("ref"), kRows);
      if (!plan.ok() || plan->steps.size() < 3) continue;
      for (size_t i = 0; i < plan->steps.size(); ++i) {
        if (plan->steps[i]->info().blocked) layer_ = i;
      }
      if (plan->chunk_rows > 1 && plan->steps[layer_]->info().blocked) return;
    }
  }

  KernelChoices Tune(const Micros& micros, double seconds = 1.0) {
    TuneParts parts{{}, {}, clock_};
    parts.build = [&](const KernelChoices& choices) -> absl::StatusOr<Plan> {
      auto plan = BuildPlan(graph_, *SelectKernels("ref"), kRows, 1, nullptr, &choices);
      std::string text;
      for (const auto& [node, choice] : choices.layers) text = choice.Text();
      if (plan.ok()) plan->steps[layer_]->mutable_info().name = text;
      return plan;
    };
    parts.timer = [&](const Plan& plan, int64_t rows) {
      return [&, rows](std::vector<double>& times) {
        times.assign(plan.steps.size(), 1.0);
        times[layer_] = micros(plan.steps[layer_]->info().name, rows);
        clock_.Advance(static_cast<int64_t>(times[layer_] * 1e3));
        ++runs_;
        return absl::OkStatus();
      };
    };
    auto choices = TuneKernels(parts, kRows, seconds);
    EXPECT_TRUE(choices.ok()) << choices.status();
    return choices.ok() ? *std::move(choices) : KernelChoices{};
  }
  static std::string TextOf(const KernelChoices& choices) {
    return choices.layers.empty() ? "" : choices.layers.begin()->second.Text();
  }

  Graph graph_;
  size_t layer_ = 0;
  FakeClock clock_;
  int runs_ = 0;
};

TEST_F(TunerTest, TakesTheFastest) {
  const auto choices = Tune([](const std::string& choice, int64_t rows) {
    const double row = choice == "blocks x 4" ? 70.0 : choice == "blocks x 2" ? 80.0 : 100.0;
    return row * static_cast<double>(rows);
  });
  EXPECT_EQ(TextOf(choices), "blocks x 4");
  ASSERT_GT(choices.steps.size(), layer_);
  EXPECT_DOUBLE_EQ(choices.steps[layer_].micros, 70.0);
  EXPECT_NEAR(choices.steps[layer_].gain, 100.0 / 70.0, 1e-9);
  const Plan plan = *BuildPlan(graph_, *SelectKernels("ref"), 1, 1, nullptr, &choices);
  EXPECT_DOUBLE_EQ(plan.step_micros[layer_], 70.0)
      << "what is shared follows from what was measured";
  EXPECT_THAT(DescribePlanText(plan, ""), HasSubstr("1.43 x: blocks x 4"));
}

TEST_F(TunerTest, LeavesTheUsualWayWhereLittleIsGained) {
  const auto choices = Tune([](const std::string& choice, int64_t rows) {
    return (choice.empty() ? 100.0 : 97.0) * static_cast<double>(rows);
  });
  EXPECT_THAT(choices.layers, IsEmpty());
  EXPECT_TRUE(choices.measured());
  EXPECT_DOUBLE_EQ(choices.steps[layer_].micros, 100.0);
  const Plan plan = *BuildPlan(graph_, *SelectKernels("ref"), 1, 1, nullptr, &choices);
  EXPECT_THAT(DescribePlanText(plan, ""), Not(HasSubstr("tuned")));
}

TEST_F(TunerTest, ABatchThatLosesOutweighsARowThatGains) {
  EXPECT_THAT(Tune([](const std::string& choice, int64_t rows) {
                if (rows == 1) return choice.empty() ? 100.0 : 50.0;
                return (choice.empty() ? 100.0 : 105.0) * static_cast<double>(rows);
              }).layers,
              IsEmpty());
}

TEST_F(TunerTest, NeitherAFewSlowRunsNorLuckDecide) {
  int run = 0;
  EXPECT_THAT(Tune([&](const std::string& choice, int64_t) {
                return choice.empty() && ++run % 3 == 0 ? 900.0 : 100.0;
              }).layers,
              IsEmpty());
  // Faster while all are tried, no longer once the winner is measured again.
  int winner = 0;
  EXPECT_THAT(Tune([&](const std::string& choice, int64_t) {
                if (choice != "blocks x 2") return 100.0;
                return ++winner < 100 ? 80.0 : 100.0;
              }).layers,
              IsEmpty());
}

TEST_F(TunerTest, KeepsToItsBudget) {
  const int64_t start = clock_.Now();
  const auto choices =
      Tune([](const std::string& choice, int64_t) { return choice.empty() ? 2e6 : 1e6; }, 1.0);
  EXPECT_THAT(choices.layers, IsEmpty()) << "a run takes longer than the budget";
  EXPECT_TRUE(choices.measured());
  EXPECT_LE(clock_.Now() - start, 6'000'000'000) << "of each plan a row and a batch";
  const int64_t again = clock_.Now();
  EXPECT_EQ(TextOf(Tune([](const std::string& choice, int64_t) {
              return choice.empty() ? 2000.0 : 1000.0;
            })),
            "blocks x 4");
  EXPECT_LE(clock_.Now() - again, 1'200'000'000);
}

}  // namespace
}  // namespace bitmill
