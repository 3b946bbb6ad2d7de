#include "tests/backends/parallel/dividing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/parallel/graph_parts.h"
#include "backends/parallel/split_layers.h"
#include "backends/parallel/staged_executable.h"
#include "base/status_macros.h"
#include "tests/fakes/thread_team.h"

namespace bitmill {
namespace {

constexpr int64_t kRows = 9;

const Backend& Cpu() {
  static const Backend* const kCpu = CreateCpuBackend().release();
  return *kCpu;
}

std::unique_ptr<Executable> Finished(StagedModel model, const Graph& lowered, ForkJoin* team) {
  model.signature = SignatureOfLowered(lowered);
  model.title = "test";
  return std::make_unique<StagedExecutable>(std::move(model), team);
}

// All possible cuts one at a time, then some of several.
std::vector<std::vector<size_t>> CutsToTry(const Graph& lowered, std::mt19937& random) {
  const std::vector<size_t> cuts = PossibleCuts(lowered);
  std::vector<std::vector<size_t>> all = {{}};
  for (const size_t cut : cuts) all.push_back({cut});
  for (size_t count = 2; count <= std::min<size_t>(cuts.size(), 5); ++count) {
    std::vector<size_t> some;
    std::sample(cuts.begin(), cuts.end(), std::back_inserter(some), count, random);
    all.push_back(std::move(some));
  }
  return all;
}

void CheckRows(const absl::StatusOr<std::unique_ptr<Executable>>& made,
               const std::vector<RowBytes>& rows, const std::vector<RowBytes>& wanted) {
  ASSERT_TRUE(made.ok()) << made.status();
  for (const int64_t batch : {int64_t{9}, int64_t{4}, int64_t{1}}) {
    const int64_t fits = std::min(batch, (*made)->max_rows());
    const auto got = RunRows(**made, rows, fits, batch == 4 ? 1 : 64);
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_EQ(*got == wanted, true) << "batches of " << fits << "\n" << (*made)->DescribePlan();
  }
}

}  // namespace

std::vector<RowBytes> NormalRows(const Signature& signature, size_t count, std::mt19937& random) {
  std::normal_distribution<float> normal(0.0F, 2.0F);
  std::vector<RowBytes> rows(count);
  for (RowBytes& row : rows) {
    for (const TensorSpec& input : signature.inputs) {
      std::vector<std::byte>& bytes = row.emplace_back(static_cast<size_t>(input.row_bytes));
      for (size_t at = 0; at + sizeof(float) <= bytes.size(); at += sizeof(float)) {
        const float value = normal(random);
        std::memcpy(bytes.data() + at, &value, sizeof(value));
      }
    }
  }
  return rows;
}

CompilePart CompileOnCpu(const Backend& cpu) {
  return [&cpu](Graph graph,
                const PartRequest& request) -> absl::StatusOr<std::unique_ptr<Executable>> {
    BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<PreparedModel> prepared,
                             cpu.PrepareLowered(std::move(graph), {}));
    return prepared->MakeExecutable({request.max_rows, 1});
  };
}

absl::StatusOr<std::unique_ptr<Executable>> PipelineAt(const Graph& lowered,
                                                       absl::Span<const size_t> cuts,
                                                       int64_t max_rows, ForkJoin* team) {
  std::vector<NodeRange> ranges;
  size_t first = 0;
  for (const size_t cut : cuts) ranges.push_back({std::exchange(first, cut), cut});
  ranges.push_back({first, lowered.nodes.size()});
  BITMILL_ASSIGN_OR_RETURN(const DividedGraph divided, DivideForCpu(lowered));
  BITMILL_ASSIGN_OR_RETURN(StagedModel model,
                           BuildPipeline(divided, ranges, max_rows, CompileOnCpu(Cpu())));
  return Finished(std::move(model), lowered, team);
}

absl::StatusOr<std::unique_ptr<Executable>> TensorOf(const Graph& lowered, int parts,
                                                     int64_t max_rows, ForkJoin* team) {
  std::vector<size_t> layers;
  for (size_t n = 0; n < lowered.nodes.size(); ++n) {
    if (CanSplit(lowered, lowered.nodes[n])) layers.push_back(n);
  }
  BITMILL_ASSIGN_OR_RETURN(const DividedGraph divided, DivideForCpu(lowered));
  BITMILL_ASSIGN_OR_RETURN(StagedModel model,
                           BuildTensor(divided, layers, parts, max_rows, CompileOnCpu(Cpu())));
  return Finished(std::move(model), lowered, team);
}

void CheckDivisions(const Graph& lowered, std::mt19937& random) {
  const int64_t max_rows = lowered.batchable ? kRows : 1;
  const auto rows = NormalRows(SignatureOfLowered(lowered), kRows, random);
  const auto prepared = Cpu().PrepareLowered(lowered, {});
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  const auto whole = (*prepared)->MakeExecutable({max_rows, 1});
  ASSERT_TRUE(whole.ok()) << whole.status();
  SCOPED_TRACE((*whole)->DescribePlan());
  const auto wanted = RunRows(**whole, rows, max_rows);
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  ThreadTeam three(3);
  BackwardTeam backward(4);
  ForkJoin* const teams[] = {&three, &backward, nullptr};
  size_t turn = 0;
  for (const std::vector<size_t>& cuts : CutsToTry(lowered, random)) {
    SCOPED_TRACE(absl::StrCat("cut before ", absl::StrJoin(cuts, ", ")));
    CheckRows(PipelineAt(lowered, cuts, max_rows, teams[turn++ % 3]), rows, *wanted);
    if (testing::Test::HasFatalFailure()) return;
  }
  for (const int parts : {2, 3, 4}) {
    SCOPED_TRACE(absl::StrCat("layers in ", parts, " parts"));
    CheckRows(TensorOf(lowered, parts, max_rows, teams[turn++ % 3]), rows, *wanted);
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace bitmill
