// Plan files whose hashes are right and whose contents are anything: a status, or a plan that runs
// within its memory.
//
// An input names a lowered graph, an instruction set of this machine, and edits of its plan file:
// the first byte the graph and the set, then five bytes an edit: what to do, three of place, a
// value. The file is written with new hashes, so that all that is behind them is reached.
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/plan.h"
#include "backends/cpu/plan_file.h"
#include "backends/cpu/prepared_model.h"
#include "backends/cpu/stored_plan.h"
#include "base/check.h"
#include "kernels/isa.h"
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

// The best of this machine first, which kept inputs mean.
const std::vector<KernelSet>& AllKernels() {
  static const std::vector<KernelSet> all = [] {
    std::vector<KernelSet> found = {*SelectKernels("auto")};
    for (const Isa isa : kAllIsas) {
      if (isa != BestIsa() && IsaAllows(BestIsa(), isa))
        found.push_back(*SelectKernels(IsaName(isa)));
    }
    return found;
  }();
  return all;
}

// The plan file of a graph, with choices of kernels in it.
Parts PartsOf(const Graph& graph, const KernelSet& kernels) {
  StoredPlan stored;
  stored.graph = graph;
  const auto plan = BuildPlan(graph, kernels, 3, 1, &stored.constants);
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

struct Start {
  const KernelSet& kernels;
  Parts parts;
};

Start StartOf(uint8_t number) {
  static const std::vector<Graph> graphs = FuzzGraphs(kGraphs);
  static std::map<std::pair<size_t, size_t>, Parts> made;
  const size_t graph = number % graphs.size();
  const size_t set = number / graphs.size() % AllKernels().size();
  const KernelSet& kernels = AllKernels()[set];
  auto found = made.find({graph, set});
  if (found == made.end()) {
    found = made.emplace(std::pair(graph, set), PartsOf(graphs[graph], kernels)).first;
  }
  return {kernels, found->second};
}

void OpenAndRun(const KernelSet& kernels) {
  auto stored = ReadStoredPlan(FuzzPlanPath(), geteuid(), {});
  if (!stored.ok() || !IsQuickToRun(stored->graph)) return;
  const Signature signature = SignatureOfLowered(stored->graph);
  CpuPreparedModel prepared(signature, *std::move(stored), kernels, {}, nullptr);
  const auto executable = prepared.MakeExecutable({2, 1});
  if (executable.ok()) RunZeroRows(**executable);
}

}  // namespace
}  // namespace bitmill

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  auto [kernels, parts] = bitmill::StartOf(data[0]);
  bitmill::EditParts(data + 1, size - 1, absl::MakeSpan(parts.edited));
  std::vector<bitmill::PlanPartContents> contents = {{bitmill::PlanPart::kKey, {parts.key}},
                                                     {bitmill::PlanPart::kSource, {parts.source}}};
  for (size_t i = 0; i < bitmill::kEdited.size(); ++i) {
    contents.push_back({bitmill::kEdited[i], {parts.edited[i]}});
  }
  BITMILL_CHECK(bitmill::WritePlanFile(bitmill::FuzzPlanPath(), contents).ok());
  bitmill::OpenAndRun(kernels);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return bitmill::MutateEdits(data, size, max_size, 1, seed);
}
