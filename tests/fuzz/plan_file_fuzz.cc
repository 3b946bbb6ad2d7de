// Plan files whose hashes are right and whose contents are anything: a status, or a plan that runs
// within its memory.
//
// An input names a lowered graph and edits of its plan file: the first byte the graph, then five
// bytes an edit: what to do, three of place, a value. The file is written with new hashes, so that
// all that is behind them is reached.
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/plan.h"
#include "backends/cpu/plan_file.h"
#include "backends/cpu/prepared_model.h"
#include "backends/cpu/stored_plan.h"
#include "base/check.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/fuzz/plan_edits.h"

namespace bitmill {
namespace {

constexpr int kGraphs = 24;
constexpr std::array<PlanPart, 3> kEdited = {PlanPart::kModel, PlanPart::kChoices,
                                             PlanPart::kBlobs};

struct Parts {
  std::string key, source;
  std::array<std::string, kEdited.size()> edited;
};

// The plan file of a graph, with choices of kernels in it.
Parts PartsOf(const Graph& graph) {
  StoredPlan stored;
  stored.graph = graph;
  const auto plan = BuildPlan(graph, *SelectKernels("auto"), 3, 1, &stored.constants);
  BITMILL_CHECK(plan.ok());
  for (const StepPtr& step : plan->steps) {
    stored.choices.steps.emplace_back();
    for (const int32_t node : step->info().nodes) stored.choices.layers[node] = {.block_shift = 1};
  }
  for (const auto& [node, forms] : plan->forms) stored.choices.layers[node] = forms.front();
  BITMILL_CHECK(WriteStoredPlan(FuzzPlanPath(), stored, {}).ok());
  const auto file = PlanFile::Open(FuzzPlanPath(), geteuid());
  Parts parts{
      std::string(*file->Part(PlanPart::kKey)), std::string(*file->Part(PlanPart::kSource)), {}};
  for (size_t i = 0; i < kEdited.size(); ++i)
    parts.edited[i] = std::string(*file->Part(kEdited[i]));
  return parts;
}

const std::vector<Parts>& AllParts() {
  static const std::vector<Parts> all = [] {
    std::vector<Parts> made;
    for (const Graph& graph : FuzzGraphs(kGraphs)) made.push_back(PartsOf(graph));
    return made;
  }();
  return all;
}

void OpenAndRun() {
  auto stored = ReadStoredPlan(FuzzPlanPath(), geteuid(), {});
  if (!stored.ok() || !IsQuickToRun(stored->graph)) return;
  const Signature signature = SignatureOfLowered(stored->graph);
  CpuPreparedModel prepared(signature, *std::move(stored), *SelectKernels("auto"), {}, nullptr);
  const auto executable = prepared.MakeExecutable({2, 1});
  if (executable.ok()) RunZeroRows(**executable);
}

}  // namespace
}  // namespace bitmill

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto& all = bitmill::AllParts();
  bitmill::Parts parts = all[data[0] % all.size()];
  bitmill::EditParts(data + 1, size - 1, absl::MakeSpan(parts.edited));
  std::vector<bitmill::PlanPartContents> contents = {{bitmill::PlanPart::kKey, {parts.key}},
                                                     {bitmill::PlanPart::kSource, {parts.source}}};
  for (size_t i = 0; i < parts.edited.size(); ++i) {
    contents.push_back({bitmill::kEdited[i], {parts.edited[i]}});
  }
  BITMILL_CHECK(bitmill::WritePlanFile(bitmill::FuzzPlanPath(), contents).ok());
  bitmill::OpenAndRun();
  return 0;
}
