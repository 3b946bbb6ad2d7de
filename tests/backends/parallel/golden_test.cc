// Every model that has a golden file, in every mode and in 1 to 4 parts: the bits of the whole
// model, with helpers and without.
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/backend_set.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/parallel/parallel_backend.h"
#include "base/clock.h"
#include "tests/backends/opencl/golden_models.h"
#include "tests/backends/parallel/dividing.h"
#include "tests/fakes/thread_team.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxRows = 17;
constexpr size_t kFewRows = 17;

class DividedGoldenTest : public testing::TestWithParam<GoldenModel> {};

TEST_P(DividedGoldenTest, EveryDivisionGivesTheBitsOfTheWholeModel) {
  const auto graph = ReadGoldenGraph(GetParam());
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto golden = ReadGoldenRows(GetParam());
  ASSERT_TRUE(golden.ok()) << golden.status();
  const auto rows =
      absl::MakeConstSpan(golden->inputs).first(std::min(kFewRows, golden->inputs.size()));
  const auto whole = CreateCpuBackend()->Compile(*graph, {.max_rows = kMaxRows});
  ASSERT_TRUE(whole.ok()) << whole.status();
  const auto wanted = RunRows(**whole, rows, (*whole)->max_rows());
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  ThreadTeam team(3);
  const SystemClock clock;
  const auto backend = CreateParallelBackend(std::make_unique<BackendSet>(CreateCpuBackend(&team)),
                                             &team, {.measure_ns = 5'000'000}, clock);
  for (const char* mode : {"data", "tensor", "pipeline"}) {
    for (int parts = 1; parts <= 4; ++parts) {
      const std::string how = absl::StrCat(mode, ":", parts);
      CompileOptions options;
      options.max_rows = kMaxRows;
      options.parallel = how;
      const auto divided = backend->Compile(*graph, options);
      ASSERT_TRUE(divided.ok()) << how << ": " << divided.status();
      for (const int64_t wanted_rows : {int64_t{17}, int64_t{3}, int64_t{1}}) {
        const int64_t batch = std::min(wanted_rows, (*divided)->max_rows());
        const auto got = RunRows(**divided, rows, batch, batch == 3 ? 1 : 64);
        ASSERT_TRUE(got.ok()) << how << ": " << got.status();
        ASSERT_EQ(*got == *wanted, true) << how << ", batches of " << batch << "\n"
                                         << (*divided)->DescribePlan();
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, DividedGoldenTest, testing::ValuesIn(FindGoldenModels()),
                         [](const testing::TestParamInfo<GoldenModel>& param) {
                           return param.param.name;
                         });

}  // namespace
}  // namespace bitmill
