// Plan files of routed and divided models whose hashes are right and whose contents are anything: a
// status, or a model that runs within its memory.
//
// An input names a lowered graph, a way of computing it, and edits of its plan file (plan_edits.h):
// the first byte the graph, the second the way.
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/auto_backend.h"
#include "backends/bundle_path.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/plan_file.h"
#include "backends/parallel/parallel_backend.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "tests/fakes/other_cpu.h"
#include "tests/fuzz/plan_edits.h"

namespace bitmill {
namespace {

constexpr int kGraphs = 12;
constexpr std::array<const char*, 5> kWays = {"auto", "data:2", "tensor:2", "pipeline:2",
                                              "pipeline:3"};
// Notes and packed constants first: what a plan of one executable does not have.
constexpr std::array<PlanPart, 3> kEdited = {PlanPart::kParts, PlanPart::kModel, PlanPart::kBlobs};

struct Parts {
  std::string key, source;
  std::array<std::string, kEdited.size()> edited;
};

class Backends {
 public:
  Backends() {
    auto set = std::make_unique<BackendSet>(CreateCpuBackend());
    set->Add("auto", [&cpu = set->first(), this]() -> absl::StatusOr<std::unique_ptr<Backend>> {
      return CreateAutoBackend(cpu, {&device_}, {.measure_ns = 0}, clock_);
    });
    backend_ = CreateParallelBackend(std::move(set), nullptr, {.measure_ns = 0}, clock_);
  }
  const Backend& get() const { return *backend_; }

 private:
  const SystemClock clock_;
  const OtherCpu device_;
  std::unique_ptr<Backend> backend_;
};

const Backend& TestedBackend() {
  static const Backends backends;
  return backends.get();
}

CompileOptions OptionsOf(const std::string& way) {
  CompileOptions options;
  options.max_rows = 2;
  options.threads = 1;
  options.working_bytes = int64_t{1} << 24;
  options.backend = way == "auto" ? "auto" : "cpu";
  options.parallel = way == "auto" ? "" : way;
  return options;
}

std::string PathOf(const std::string& way) { return BundlePath(FuzzPlanPath(), way); }

// The plan file of the graph, computed that way.
Parts PartsOf(const Graph& graph, const std::string& way) {
  const auto prepared = TestedBackend().Prepare(graph, OptionsOf(way));
  BITMILL_CHECK(prepared.ok() && (*prepared)->MakeExecutable({2, 1}).ok());
  BITMILL_CHECK((*prepared)->Save(FuzzPlanPath(), {}).ok());
  BITMILL_CHECK(TestedBackend().OpenPlan(FuzzPlanPath(), geteuid(), OptionsOf(way)).ok());
  const auto file = PlanFile::Open(PathOf(way), geteuid());
  BITMILL_CHECK(file.ok());
  Parts parts{
      std::string(*file->Part(PlanPart::kKey)), std::string(*file->Part(PlanPart::kSource)), {}};
  for (size_t i = 0; i < kEdited.size(); ++i) {
    parts.edited[i] = std::string(*file->Part(kEdited[i]));
  }
  return parts;
}

const Parts& PartsFor(size_t graph, size_t way) {
  static const std::vector<std::vector<Parts>> all = [] {
    BITMILL_CHECK(SetLogLevel("error").ok());  // most of what follows is a warning
    std::vector<std::vector<Parts>> made;
    for (const Graph& drawn : FuzzGraphs(kGraphs)) {
      made.emplace_back();
      for (const char* const its_way : kWays) made.back().push_back(PartsOf(drawn, its_way));
    }
    return made;
  }();
  return all[graph % all.size()][way % kWays.size()];
}

// What is opened is small enough to be computed; the graph is looked at without its parts.
bool IsQuickBundle(const std::string& way, const Parts& parts) {
  std::vector<PlanPartContents> contents = {{PlanPart::kKey, {parts.key}},
                                            {PlanPart::kSource, {parts.source}}};
  for (size_t i = 0; i < kEdited.size(); ++i) contents.push_back({kEdited[i], {parts.edited[i]}});
  BITMILL_CHECK(WritePlanFile(PathOf(way), contents).ok());
  const std::string purpose = way == "auto" ? "auto" : absl::StrCat("parallel ", way, " on cpu");
  const auto bundle =
      CreateCpuBackend()->OpenBundle(PathOf(way), geteuid(), purpose, OptionsOf(way));
  // What cannot be opened here is to be refused there.
  return !bundle.ok() || IsQuickToRun(bundle->lowered);
}

}  // namespace
}  // namespace bitmill

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  bitmill::Parts parts = bitmill::PartsFor(data[0], data[1]);
  const std::string way = bitmill::kWays[data[1] % bitmill::kWays.size()];
  bitmill::EditParts(data + 2, size - 2, absl::MakeSpan(parts.edited));
  if (!bitmill::IsQuickBundle(way, parts)) return 0;
  const auto prepared = bitmill::TestedBackend().OpenPlan(bitmill::FuzzPlanPath(), geteuid(),
                                                          bitmill::OptionsOf(way));
  if (!prepared.ok()) return 0;
  const auto executable = (*prepared)->MakeExecutable({2, 1});
  if (executable.ok()) bitmill::RunZeroRows(**executable);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return bitmill::MutateEdits(data, size, max_size, 2, seed);
}
