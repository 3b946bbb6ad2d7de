// Plan files whose hashes are right and whose contents are anything: a status, or a plan that runs
// within its memory.
//
// An input names a lowered graph and edits of its plan file: the first byte the graph, then five
// bytes an edit: what to do, three of place, a value. The file is written with new hashes, so that
// all that is behind them is reached.
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/cpu/plan.h"
#include "backends/cpu/plan_file.h"
#include "backends/cpu/prepared_model.h"
#include "backends/cpu/stored_plan.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "model/passes/check_lowered.h"
#include "model/verify.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/cpu/random_lowered.h"

namespace bitmill {
namespace {

constexpr int64_t kMostElements = 1 << 16;  // of a value or its weights, to be quick
constexpr int64_t kMostRowMacs = 1 << 22;
constexpr int64_t kMostArenaBytes = 1 << 24;
constexpr int kGraphs = 24;
constexpr std::array<PlanPart, 3> kEdited = {PlanPart::kModel, PlanPart::kChoices,
                                             PlanPart::kBlobs};

struct Parts {
  std::string key, source;
  std::array<std::string, kEdited.size()> edited;
};

// A folder in memory, of this process.
class Folder {
 public:
  Folder() { BITMILL_CHECK(mkdtemp(path_.data()) != nullptr); }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string plan() const { return path_ + "/model.plan"; }

 private:
  std::string path_ = "/dev/shm/bitmill_fuzz_XXXXXX";
};

const std::string& PlanPath() {
  static const Folder folder;
  static const std::string path = folder.plan();
  return path;
}

// What lowering always writes and the random graphs leave out.
void FillIn(Graph& graph) {
  for (Node& node : graph.nodes) {
    if (auto* op = std::get_if<QuantizeOp>(&node.lowered)) {
      op->bit_invert.resize(op->bit_thresholds.size());
    } else if (auto* conv = std::get_if<LowBitConvOp>(&node.lowered)) {
      if (conv->epilogue == LowBitConvOp::Epilogue::kThresholds && conv->flip.empty()) {
        conv->flip.resize(static_cast<size_t>(conv->weights->shape()[0]));
      }
    }
  }
}

Graph DrawGraph(int number, std::mt19937& random) {
  using Epilogue = LowBitConvOp::Epilogue;
  if (number % 6 == 0) return RandomResidual(random);
  if (number % 6 == 1) return RandomFloat(number % 4 == 1, random);
  if (number % 6 == 2) return RandomPooling(number % 4 == 2, random);
  constexpr Epilogue kEpilogues[] = {Epilogue::kFloat, Epilogue::kThresholds,
                                     Epilogue::kRequantize};
  const Epilogue epilogue = kEpilogues[number % 3];
  const int weight_bits = 1 << number % 4;
  const bool bits_in = number % 8 < 4;
  return RandomLowered({bits_in, weight_bits, weight_bits == 2, epilogue,
                        bits_in && epilogue != Epilogue::kRequantize, number % 5 == 0,
                        number % 2 == 0 ? 0 : 64, weight_bits == 2},
                       random);
}

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
  BITMILL_CHECK(WriteStoredPlan(PlanPath(), stored, {}).ok());
  const auto file = PlanFile::Open(PlanPath(), geteuid());
  Parts parts{
      std::string(*file->Part(PlanPart::kKey)), std::string(*file->Part(PlanPart::kSource)), {}};
  for (size_t i = 0; i < kEdited.size(); ++i)
    parts.edited[i] = std::string(*file->Part(kEdited[i]));
  return parts;
}

const std::vector<Parts>& AllParts() {
  static const std::vector<Parts> all = [] {
    std::vector<Parts> made;
    std::mt19937 random(1);
    for (int number = 0; made.size() < kGraphs; ++number) {
      Graph graph = DrawGraph(number, random);
      FillIn(graph);
      if (!VerifyGraph(graph).ok() || !CheckLowered(graph).ok()) continue;
      if (!BuildPlan(graph, *SelectKernels("auto"), 3).ok()) continue;
      made.push_back(PartsOf(graph));
    }
    return made;
  }();
  return all;
}

// Five bytes: 0 to 2 set, 3 insert, 4 cut out (eight bytes), 5 set eight, 6 cut off; then which
// part.
void Edit(const uint8_t* edit, Parts& parts) {
  std::string& bytes = parts.edited[edit[0] / 8 % kEdited.size()];
  if (bytes.empty()) return;
  const size_t place = (size_t{edit[1]} << 16 | size_t{edit[2]} << 8 | edit[3]) % bytes.size();
  const auto value = static_cast<char>(edit[4]);
  switch (edit[0] % 8) {
    case 3:
      bytes.insert(place, 1, value);
      return;
    case 4:
      bytes.erase(place, 8);
      return;
    case 5:
      std::fill_n(bytes.begin() + static_cast<int64_t>(place),
                  std::min<size_t>(8, bytes.size() - place), value);
      return;
    case 6:
      bytes.resize(place);
      return;
    default:
      bytes[place] = value;
  }
}

// Whether it compiles and runs in milliseconds; oneDNN makes code for each shape of float layers.
bool IsQuick(const Graph& graph) {
  const auto small = [](const Shape& shape) {
    const auto elements = CheckedProduct(shape);
    return elements.has_value() && *elements <= kMostElements;
  };
  for (const Value& value : graph.values) {
    if (!small(value.shape)) return false;
  }
  for (const Node& node : graph.nodes) {
    const auto* const conv = std::get_if<LowBitConvOp>(&node.lowered);
    if (conv != nullptr && !small(conv->weights->shape())) return false;
    if (std::holds_alternative<FloatConvOp>(node.lowered) ||
        std::holds_alternative<FloatDenseOp>(node.lowered)) {
      return false;
    }
  }
  return true;
}

// What the backend refuses when it makes a signature.
bool HasRows(const Graph& graph) {
  for (const auto* const ports : {&graph.inputs, &graph.outputs}) {
    for (const GraphPort& port : *ports) {
      const Value& value = graph.value(port.value);
      const bool positive =
          std::all_of(value.shape.begin(), value.shape.end(), [](int64_t dim) { return dim >= 1; });
      if (DTypeSize(value.dtype) == 0 || value.shape.empty() || !positive) return false;
    }
  }
  return true;
}

void OpenAndRun() {
  auto stored = ReadStoredPlan(PlanPath(), geteuid(), {});
  if (!stored.ok() || !IsQuick(stored->graph) || !HasRows(stored->graph)) return;
  const Signature signature = SignatureOfLowered(stored->graph);
  CpuPreparedModel prepared(signature, *std::move(stored), *SelectKernels("auto"), 0.0, nullptr);
  const auto executable = prepared.MakeExecutable({2, 1});
  if (!executable.ok() || (*executable)->row_macs() > kMostRowMacs ||
      (*executable)->arena_bytes() > kMostArenaBytes) {
    return;
  }
  std::vector<RowBytes> rows(2);
  for (RowBytes& row : rows) {
    for (const TensorSpec& input : signature.inputs) {
      row.emplace_back(static_cast<size_t>(input.row_bytes));
    }
  }
  const auto outputs = RunRows(**executable, rows, (*executable)->max_rows());
  if (outputs.ok()) BITMILL_CHECK(outputs->size() == rows.size());
}

}  // namespace
}  // namespace bitmill

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kEditBytes = 5;
  if (size == 0) return 0;
  const auto& all = bitmill::AllParts();
  bitmill::Parts parts = all[data[0] % all.size()];
  for (size_t at = 1; at + kEditBytes <= size; at += kEditBytes) bitmill::Edit(data + at, parts);
  std::vector<bitmill::PlanPartContents> contents = {{bitmill::PlanPart::kKey, {parts.key}},
                                                     {bitmill::PlanPart::kSource, {parts.source}}};
  for (size_t i = 0; i < parts.edited.size(); ++i) {
    contents.push_back({bitmill::kEdited[i], {parts.edited[i]}});
  }
  BITMILL_CHECK(bitmill::WritePlanFile(bitmill::PlanPath(), contents).ok());
  bitmill::OpenAndRun();
  return 0;
}
