#include "backends/cpu/calibrate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/cpu/cpu_executable.h"
#include "backends/cpu/plan.h"
#include "backends/cpu/plan_memory.h"
#include "backends/cpu/value_histogram.h"
#include "base/status_macros.h"
#include "model/passes/graph_edit.h"

namespace bitmill {
namespace {

// Products of all samples together, about a second of binary layers; and how many samples at least
// and at most.
constexpr int64_t kBudgetMacs = 100'000'000'000;
constexpr int64_t kMinRows = 16, kMaxRows = 512;

// A layer whose output changes more than this stays float.
constexpr double kMaxError = 0.1;
// Clipping must gain this much; otherwise no value saturates that was seen.
constexpr double kClippingGain = 0.98;

using Values = std::vector<absl::Span<const float>>;

// Runs a lowered graph for some of its values.
class SampleRunner {
 public:
  // `values` are floats, named by their numbers in `graph`.
  static absl::StatusOr<SampleRunner> Create(Graph graph, const std::vector<ValueId>& values,
                                             const KernelSet& kernels, int64_t working_bytes) {
    SampleRunner runner;
    graph.outputs.clear();
    for (const ValueId id : values) {
      graph.outputs.push_back({id, graph.value(id).name, DType::kFloat32, {}});
      runner.outputs_.emplace_back(static_cast<size_t>(ElementCount(graph.value(id).shape)));
    }
    for (const GraphPort& port : graph.inputs) {
      const Value& value = graph.value(port.value);
      runner.row_bytes_.push_back(ElementCount(value.shape) * DTypeSize(value.dtype));
    }
    RemoveDeadNodes(graph);
    BITMILL_ASSIGN_OR_RETURN(Plan plan, BuildPlan(graph, kernels, 1));
    BITMILL_RETURN_IF_ERROR(CheckFits(plan, working_bytes));
    Signature signature;
    signature.inputs.resize(graph.inputs.size());
    signature.outputs.resize(values.size());
    runner.executable_ =
        std::make_unique<CpuExecutable>(std::move(signature), std::move(plan), 1, "samples");
    return runner;
  }

  absl::Status Run(const SampleRows& samples, absl::Span<const int64_t> rows,
                   const std::function<void(const Values&)>& use) {
    const std::unique_ptr<ExecutionContext> context = executable_->CreateContext();
    Values values;
    std::vector<std::byte*> out;
    values.reserve(outputs_.size());
    out.reserve(outputs_.size());
    for (std::vector<float>& output : outputs_) {
      values.emplace_back(output);
      out.push_back(reinterpret_cast<std::byte*>(output.data()));
    }
    std::vector<std::byte* const*> out_ports;
    out_ports.reserve(out.size());
    for (std::byte*& pointer : out) out_ports.push_back(&pointer);
    std::vector<const std::byte*> in(row_bytes_.size());
    std::vector<const std::byte* const*> in_ports;
    in_ports.reserve(in.size());
    for (const std::byte*& pointer : in) in_ports.push_back(&pointer);
    const BatchRows batch{1, in_ports, out_ports};
    for (const int64_t row : rows) {
      for (size_t i = 0; i < in.size(); ++i) {
        in[i] = reinterpret_cast<const std::byte*>(samples.inputs[i].data()) + row * row_bytes_[i];
      }
      BITMILL_RETURN_IF_ERROR(executable_->Run(batch, *context));
      use(values);
    }
    return absl::OkStatus();
  }

 private:
  SampleRunner() = default;

  std::unique_ptr<CpuExecutable> executable_;
  std::vector<int64_t> row_bytes_;
  std::vector<std::vector<float>> outputs_;
};

absl::Status CheckSamples(const Graph& graph, const SampleRows& samples) {
  if (samples.rows < 1) {
    return absl::InvalidArgumentError("no calibration rows; precision fast wants samples");
  }
  if (samples.inputs.size() != graph.inputs.size()) {
    return absl::InvalidArgumentError(absl::StrCat("calibration has ", samples.inputs.size(),
                                                   " inputs, the model ", graph.inputs.size()));
  }
  for (size_t i = 0; i < samples.inputs.size(); ++i) {
    const Value& value = graph.value(graph.inputs[i].value);
    const int64_t row_bytes = ElementCount(value.shape) * DTypeSize(value.dtype);
    const auto have = static_cast<int64_t>(samples.inputs[i].size());
    if (row_bytes > 0 && have % row_bytes == 0 && have / row_bytes == samples.rows) continue;
    return absl::InvalidArgumentError(absl::StrCat("calibration of input '", graph.inputs[i].name,
                                                   "' has ", have, " bytes for ", samples.rows,
                                                   " rows of ", row_bytes));
  }
  return absl::OkStatus();
}

std::vector<int64_t> ChooseRows(int64_t rows, int64_t row_macs) {
  const int64_t affordable = kBudgetMacs / std::max<int64_t>(row_macs, 1);
  const int64_t count = std::min(rows, std::clamp(affordable, kMinRows, kMaxRows));
  std::vector<int64_t> chosen;
  chosen.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) chosen.push_back(i * rows / count);
  return chosen;
}

// The change of an output, summed over samples.
struct Difference {
  double change = 0.0, size = 0.0;

  void Add(absl::Span<const float> wanted, absl::Span<const float> got) {
    for (size_t i = 0; i < wanted.size(); ++i) {
      const double gap = double{wanted[i]} - got[i];
      if (!std::isfinite(gap)) continue;
      change += gap * gap;
      size += double{wanted[i]} * wanted[i];
    }
  }
  // 0 where nothing changed, infinite where an output of zeros did.
  double relative() const { return change == 0.0 ? 0.0 : std::sqrt(change / size); }
};

class Calibration {
 public:
  Calibration(const Graph& lowered, const SampleRows& samples, const KernelSet& kernels,
              int64_t working_bytes)
      : lowered_(lowered), samples_(samples), kernels_(kernels), working_bytes_(working_bytes) {}

  absl::StatusOr<FastModel> Run() {
    BITMILL_RETURN_IF_ERROR(CheckSamples(lowered_, samples_));
    BITMILL_ASSIGN_OR_RETURN(const Plan whole, BuildPlan(lowered_, kernels_, 1));
    rows_ = ChooseRows(samples_.rows, whole.row_macs);
    for (const FloatLayer& layer : FindFloatLayers(lowered_)) {
      LayerPrecision& made = layers_.emplace_back();
      const Node& node = lowered_.nodes[layer.node];
      made.name = node.name.empty() ? node.op : node.name;
      made.macs = layer.macs;
      made.reason = layer.refusal;
      places_[layer.output] = layers_.size() - 1;
      if (layer.refusal.empty()) open_.insert(layer.output);
    }
    while (!open_.empty()) BITMILL_RETURN_IF_ERROR(DecideNext());
    FastModel model;
    BITMILL_ASSIGN_OR_RETURN(model.graph, QuantizeFloatLayers(lowered_, ranges_));
    BITMILL_RETURN_IF_ERROR(FuseFastLayers(model.graph));
    model.layers = std::move(layers_);
    model.rows = static_cast<int64_t>(rows_.size());
    return model;
  }

 private:
  // A layer with its two ranges, and what they do to its output.
  struct Trial {
    FloatLayer layer;
    std::array<ActivationRange, 2> ranges;  // all that was seen; clipped
    std::array<Difference, 2> differences;
  };

  // The undecided layers that depend on no other undecided one.
  std::vector<FloatLayer> NextLayers(const Graph& graph) const {
    std::vector<FloatLayer> next;
    std::vector<FloatLayer> layers = FindFloatLayers(graph);
    std::set<ValueId> waiting;  // values behind undecided layers
    size_t l = 0;
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      const Node& node = graph.nodes[n];
      const bool behind = std::any_of(node.inputs.begin(), node.inputs.end(),
                                      [&](ValueId id) { return waiting.contains(id); });
      const bool is_layer = l < layers.size() && layers[l].node == n;
      const bool is_open = is_layer && open_.contains(layers[l].output);
      if (is_open && !behind) next.push_back(layers[l]);
      if (is_layer) ++l;
      if (behind || is_open) waiting.insert(node.outputs.begin(), node.outputs.end());
    }
    return next;
  }

  absl::Status DecideNext() {
    BITMILL_ASSIGN_OR_RETURN(const Graph graph, QuantizeFloatLayers(lowered_, ranges_));
    std::vector<FloatLayer> layers = NextLayers(graph);
    BITMILL_ASSIGN_OR_RETURN(std::vector<Trial> trials, FindRanges(graph, std::move(layers)));
    if (trials.empty()) return absl::OkStatus();
    BITMILL_RETURN_IF_ERROR(Compare(graph, trials));
    for (const Trial& trial : trials) Decide(trial);
    return absl::OkStatus();
  }

  // Histograms of the layers' inputs; layers whose range is of no use are done.
  absl::StatusOr<std::vector<Trial>> FindRanges(const Graph& graph,
                                                std::vector<FloatLayer> layers) {
    std::map<ValueId, ValueHistogram> histograms;
    for (const FloatLayer& layer : layers) histograms[layer.input];
    std::vector<ValueId> inputs;
    inputs.reserve(histograms.size());
    for (const auto& [id, histogram] : histograms) inputs.push_back(id);
    BITMILL_ASSIGN_OR_RETURN(SampleRunner runner,
                             SampleRunner::Create(graph, inputs, kernels_, working_bytes_));
    BITMILL_RETURN_IF_ERROR(runner.Run(samples_, rows_, [&](const Values& values) {
      for (size_t i = 0; i < inputs.size(); ++i) histograms[inputs[i]].Add(values[i]);
    }));
    std::vector<Trial> trials;
    for (FloatLayer& layer : layers) {
      const ValueHistogram& histogram = histograms[layer.input];
      LayerPrecision& made = layers_[places_[layer.output]];
      made.seen = histogram.Range();
      if (!IsUsable(made.seen)) {
        made.reason = absl::StrCat("its input is between ", made.seen.low, " and ", made.seen.high,
                                   " on all samples");
        open_.erase(layer.output);
        continue;
      }
      ActivationRange clipped = histogram.ClippedRange(kFastLevels);
      if (!IsUsable(clipped)) clipped = made.seen;
      trials.push_back({std::move(layer), {made.seen, clipped}, {}});
    }
    return trials;
  }

  absl::Status Compare(Graph graph, std::vector<Trial>& trials) {
    std::vector<ValueId> values;
    for (const Trial& trial : trials) {
      values.push_back(trial.layer.output);
      for (const ActivationRange& range : trial.ranges) {
        BITMILL_ASSIGN_OR_RETURN(const ValueId twin, AddInt8Twin(graph, trial.layer, range));
        values.push_back(twin);
      }
    }
    BITMILL_ASSIGN_OR_RETURN(SampleRunner runner, SampleRunner::Create(std::move(graph), values,
                                                                       kernels_, working_bytes_));
    return runner.Run(samples_, rows_, [&](const Values& outputs) {
      size_t at = 0;
      for (Trial& trial : trials) {
        const absl::Span<const float> wanted = outputs[at++];
        for (Difference& difference : trial.differences) difference.Add(wanted, outputs[at++]);
      }
    });
  }

  void Decide(const Trial& trial) {
    const double whole = trial.differences[0].relative(), clipped = trial.differences[1].relative();
    const size_t choice = clipped < whole * kClippingGain ? 1 : 0;
    LayerPrecision& made = layers_[places_[trial.layer.output]];
    made.used = trial.ranges[choice];
    made.error = choice == 1 ? clipped : whole;
    made.other_error = choice == 1 ? whole : clipped;
    made.int8 = made.error <= kMaxError;
    open_.erase(trial.layer.output);
    if (made.int8) {
      ranges_[trial.layer.output] = made.used;
      return;
    }
    made.reason = absl::StrFormat("its output would change by %.1f %%, more than %.0f %%",
                                  made.error * 100, kMaxError * 100);
  }

  const Graph& lowered_;
  const SampleRows& samples_;
  const KernelSet& kernels_;
  const int64_t working_bytes_;
  std::vector<int64_t> rows_;
  std::vector<LayerPrecision> layers_;
  std::map<ValueId, size_t> places_;  // in layers_, by the layer's output
  std::set<ValueId> open_;            // outputs of layers that are not decided
  LayerRanges ranges_;
};

}  // namespace

absl::StatusOr<FastModel> MakeFast(const Graph& lowered, const SampleRows& samples,
                                   const KernelSet& kernels, int64_t working_bytes) {
  return Calibration(lowered, samples, kernels, working_bytes).Run();
}

std::string DescribePrecision(const Executable& executable) {
  const auto* const own = dynamic_cast<const CpuExecutable*>(&executable);
  return own == nullptr ? "" : own->precision();
}

std::string DescribeLayers(absl::Span<const LayerPrecision> layers, int64_t rows) {
  if (layers.empty()) return "precision fast: no float layers\n";
  size_t width = 5;
  for (const LayerPrecision& layer : layers) width = std::max(width, layer.name.size());
  const auto padded = [width](const std::string& name) {
    return absl::StrCat(name, std::string(width - name.size(), ' '));
  };
  std::string text = absl::StrCat(
      "precision fast: float layers, calibrated with ", rows, " rows\n", padded("layer"),
      "  runs in          MACs  input seen          input kept        ", "  error\n");
  const auto range = [](const ActivationRange& r) {
    return absl::StrFormat("%9.4g..%-8.4g", r.low, r.high);
  };
  for (const LayerPrecision& layer : layers) {
    absl::StrAppend(&text, padded(layer.name), "  ",
                    absl::StrFormat("%-7s %13d", layer.int8 ? "int8" : "float", layer.macs), "  ");
    if (layer.int8) {
      absl::StrAppend(
          &text, range(layer.seen), " ", range(layer.used), " ",
          absl::StrFormat("%.2f %% (%s; %s %.2f %%)", layer.error * 100,
                          layer.used.low == layer.seen.low && layer.used.high == layer.seen.high
                              ? "all values"
                              : "clipped",
                          "otherwise", layer.other_error * 100));
    } else {
      absl::StrAppend(&text, layer.reason);
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

}  // namespace bitmill
