#include "tests/fuzz/plan_edits.h"

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <random>
#include <system_error>
#include <utility>
#include <variant>

#include "backends/cpu/plan.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "model/passes/check_lowered.h"
#include "model/verify.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/cpu/random_lowered.h"

namespace bitmill {
namespace {

constexpr int64_t kMostElements = 1 << 16;  // of a value or its weights
constexpr size_t kEditBytes = 5;
constexpr int64_t kMostRowMacs = 1 << 22;
constexpr int64_t kMostArenaBytes = 1 << 24;

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

// 0 to 2 set, 3 insert, 4 cut out (eight bytes), 5 set eight, 6 cut off; then which part.
void Edit(const uint8_t* edit, absl::Span<std::string> parts) {
  std::string& bytes = parts[edit[0] / 8 % parts.size()];
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

// Values and weights are small, and there are no float layers: oneDNN makes code for each shape of
// float layers.
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

}  // namespace

const std::string& FuzzPlanPath() {
  static const Folder folder;
  static const std::string path = folder.plan();
  return path;
}

std::vector<Graph> FuzzGraphs(size_t count) {
  std::vector<Graph> graphs;
  std::mt19937 random(1);
  for (int number = 0; graphs.size() < count; ++number) {
    Graph graph = DrawGraph(number, random);
    FillIn(graph);
    if (!VerifyGraph(graph).ok() || !CheckLowered(graph).ok()) continue;
    if (!BuildPlan(graph, *SelectKernels("auto"), 3).ok()) continue;
    graphs.push_back(std::move(graph));
  }
  return graphs;
}

void EditParts(const uint8_t* edits, size_t bytes, absl::Span<std::string> parts) {
  for (size_t at = 0; at + kEditBytes <= bytes; at += kEditBytes) Edit(edits + at, parts);
}

size_t MutateEdits(uint8_t* data, size_t size, size_t max_size, size_t head, uint32_t seed) {
  constexpr size_t kMostEdits = 6;
  constexpr uint8_t kNumbers[] = {0,  1,  2,  3,  4,  7,   8,   15,  16,
                                  31, 32, 63, 64, 65, 127, 128, 254, 255};
  std::minstd_rand random(seed);
  const auto below = [&random](size_t count) { return random() / 8 % count; };
  const auto byte = [&] { return static_cast<uint8_t>(below(256)); };
  if (max_size < head + kEditBytes) return std::min(size, max_size);
  while (size < head) data[size++] = byte();
  if (below(8) == 0) data[below(head)] = byte();
  size_t edits = (size - head) / kEditBytes;
  const bool can_add = edits < kMostEdits && head + (edits + 1) * kEditBytes <= max_size;
  const size_t way = below(8);
  if (edits > 0 && way == 0) {
    --edits;
  } else if (edits == 0 || (can_add && way < 3)) {
    ++edits;
  }
  if (edits > 0) {
    uint8_t* const edit = data + head + below(edits) * kEditBytes;
    const size_t kind = below(8) < 6 ? 0 : below(8);
    edit[0] = static_cast<uint8_t>(below(4) < 3 ? kind : kind + 8 * below(32));
    for (int i = 1; i < 4; ++i) edit[i] = byte();
    edit[4] = below(4) < 3 ? kNumbers[below(std::size(kNumbers))] : byte();
  }
  return head + edits * kEditBytes;
}

bool IsQuickToRun(const Graph& graph) { return IsQuick(graph) && HasRows(graph); }

void RunZeroRows(const Executable& executable) {
  if (executable.row_macs() > kMostRowMacs || executable.arena_bytes() > kMostArenaBytes) return;
  std::vector<RowBytes> rows(2);
  for (RowBytes& row : rows) {
    for (const TensorSpec& input : executable.signature().inputs) {
      row.emplace_back(static_cast<size_t>(input.row_bytes));
    }
  }
  const auto outputs = RunRows(executable, rows, executable.max_rows());
  if (outputs.ok()) BITMILL_CHECK(outputs->size() == rows.size());
}

}  // namespace bitmill
