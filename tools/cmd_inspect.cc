#include "tools/cmd_inspect.h"

#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "backends/batch_router.h"
#include "backends/cpu/calibrate.h"
#include "backends/parallel/parallel_options.h"
#include "backends/routed_executable.h"
#include "base/clock.h"
#include "base/cpu_budget.h"
#include "base/status_macros.h"
#include "kernels/isa.h"
#include "model/passes/passes.h"
#include "server/app.h"
#include "server/compute_backends.h"
#include "server/schedule/tbb_scheduler.h"
#include "tools/local/local_model.h"
#include "tools/opencl_options.h"
#include "tools/precision_options.h"
#include "tools/text/text_table.h"
#include "tools/tune_option.h"

namespace bitmill {
namespace {

std::string OperatorName(const Node& node) {
  return node.domain.empty() ? node.op : absl::StrCat(node.domain, "::", node.op);
}

// Dimensions as the file declares them, open ones as N.
std::string DeclaredShape(const GraphPort& port) {
  return absl::StrCat("[",
                      absl::StrJoin(port.declared_shape, ",",
                                    [](std::string* out, int64_t dim) {
                                      absl::StrAppend(out, dim < 0 ? "N" : absl::StrCat(dim));
                                    }),
                      "]");
}

struct WeightKind {
  int64_t layers = 0, weights = 0, bits = 0;
};

// Sorted from few bits to many.
using WeightKinds = std::map<std::pair<int, std::string>, WeightKind>;

void Count(const Node& node, WeightKinds& kinds) {
  const auto add = [&kinds](int order, const std::string& name, const SharedTensor& weights,
                            int bits) {
    if (weights == nullptr) return;
    WeightKind& kind = kinds[{order, name}];
    ++kind.layers;
    kind.weights += weights->elements();
    kind.bits += weights->elements() * bits;
  };
  if (const auto* conv = std::get_if<LowBitConvOp>(&node.lowered)) {
    const bool ternary = conv->weight_bits == 2 && conv->ternary;
    add(conv->weight_bits * 2 - (ternary ? 1 : 0),
        ternary ? "ternary" : absl::StrCat(conv->weight_bits, "-bit"), conv->weights,
        conv->weight_bits);
  } else if (const auto* float_conv = std::get_if<FloatConvOp>(&node.lowered)) {
    add(64, "float", float_conv->weights, 32);
  } else if (const auto* dense = std::get_if<FloatDenseOp>(&node.lowered)) {
    add(64, "float", dense->weights, 32);
  }
}

std::string NodeValues(const Graph& graph, const std::vector<ValueId>& ids) {
  return absl::StrJoin(ids, ", ", [&graph](std::string* out, ValueId id) {
    if (id == kNoValue) {
      absl::StrAppend(out, "-");
      return;
    }
    const Value& value = graph.value(id);
    absl::StrAppend(out, value.constant != nullptr ? "const " : "", DTypeName(value.dtype),
                    ShapeToString(value.shape));
  });
}

// Puts the model of another precision in the place of the exact one; what that changes, for the
// report: in bfloat16 only where there are samples to tell by.
absl::StatusOr<std::string> UsePrecision(const Graph& graph, const CompileOptions& compile,
                                         const InspectOptions& options,
                                         std::unique_ptr<Executable>& executable) {
  const PrecisionChoice& choice = options.precision;
  ModelInputs samples;
  std::string change;
  std::unique_ptr<Executable> other;
  if (choice.bf16()) {
    CompileOptions bf16 = compile;
    bf16.precision = Precision::kBf16;
    BITMILL_ASSIGN_OR_RETURN(other, CompileOnCpu(graph, bf16));
    if (!choice.calibration.empty()) {
      BITMILL_ASSIGN_OR_RETURN(
          samples, ReadModelInputs(other->signature(), {{choice.calibration}, options.labels}));
    }
  } else {
    BITMILL_ASSIGN_OR_RETURN(samples,
                             ReadCalibration(executable->signature(), choice, options.labels));
    BITMILL_ASSIGN_OR_RETURN(other, CompileFast(graph, compile, samples));
  }
  if (samples.rows > 0) {
    BITMILL_ASSIGN_OR_RETURN(change,
                             DescribeChange(*executable, *other, choice.precision, samples));
  }
  executable = std::move(other);
  // The plan ends with the layers.
  return absl::StrCat(options.plan ? "" : absl::StrCat("\n", DescribePrecision(*executable)), "\n",
                      change);
}

// The backends that a server has, with the CPUs that it would use.
class Computing {
 public:
  absl::Status Start(const InspectOptions& options) {
    BITMILL_ASSIGN_OR_RETURN(const CpuBudget budget, DetectCpuBudget({}));
    scheduler_ = CreateTbbScheduler({.workers = budget.cpus, .io_threads = 1}, clock_);
    ServeOptions serve;
    serve.backend = options.backend;
    serve.route_ms = options.route_ms;
    serve.cuda_device = options.cuda_device;
    serve.opencl_device = options.opencl_device;
    serve.opencl_cache = options.opencl_cache;
    BITMILL_ASSIGN_OR_RETURN(
        backend_, MakeComputeBackends(serve, budget.cpus, clock_, &scheduler_->helpers()));
    return absl::OkStatus();
  }
  const Backend& backend() const { return *backend_; }

 private:
  const SystemClock clock_{};
  std::unique_ptr<TbbScheduler> scheduler_;
  std::unique_ptr<Backend> backend_;
};

}  // namespace

std::string DescribePorts(const Graph& graph) {
  TextTable table({"", "name", "type", "shape", "row"});
  const auto add = [&](const char* role, const std::vector<GraphPort>& ports) {
    for (const GraphPort& port : ports) {
      const Value& value = graph.value(port.value);
      const int64_t bytes = ElementCount(value.shape) * DTypeSize(port.dtype);
      table.AddRow({role, port.name, std::string(DTypeName(port.dtype)), DeclaredShape(port),
                    Bytes(static_cast<double>(bytes))});
    }
  };
  add("input", graph.inputs);
  add("output", graph.outputs);
  return table.Text();
}

std::string DescribeOperators(const Graph& graph) {
  std::map<std::string, int> counts;
  for (const Node& node : graph.nodes) ++counts[OperatorName(node)];
  return absl::StrCat(
      graph.nodes.size(), " nodes: ",
      absl::StrJoin(counts, ", ",
                    [](std::string* out, const std::pair<const std::string, int>& entry) {
                      absl::StrAppend(out, entry.first);
                      if (entry.second > 1) absl::StrAppend(out, " x", entry.second);
                    }),
      "\n");
}

std::string DescribeNodes(const Graph& graph) {
  TextTable table({"#", "operator", "name", "inputs", "outputs"});
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    table.AddRow({absl::StrCat(i), OperatorName(node), node.name, NodeValues(graph, node.inputs),
                  NodeValues(graph, node.outputs)});
  }
  return table.Text();
}

absl::StatusOr<std::string> DescribeWeights(const Graph& graph) {
  BITMILL_ASSIGN_OR_RETURN(const Graph lowered, Lower(graph));
  WeightKinds kinds;
  for (const Node& node : lowered.nodes) Count(node, kinds);
  if (kinds.empty()) return std::string("no layers with weights\n");
  TextTable table({"weights", "layers", "count", "as numbers of that size"});
  WeightKind all;
  for (const auto& [name, kind] : kinds) {
    table.AddRow({name.second, absl::StrCat(kind.layers),
                  WithCommas(static_cast<double>(kind.weights)),
                  Bytes(static_cast<double>(kind.bits) / 8.0)});
    all.layers += kind.layers;
    all.weights += kind.weights;
    all.bits += kind.bits;
  }
  if (kinds.size() > 1) {
    table.AddRow({"all", absl::StrCat(all.layers), WithCommas(static_cast<double>(all.weights)),
                  Bytes(static_cast<double>(all.bits) / 8.0)});
  }
  return table.Text();
}

std::string DescribePlaces(const Executable& executable) {
  std::string text;
  if (const BatchRouter* const router = executable.router()) {
    absl::StrAppend(&text, "\nwhere batches go, predicted microseconds by backend:\n",
                    DescribeRoutes(router->Report()));
  }
  const ModelDivision division = executable.division();
  if (division.mode.empty()) return text;
  const bool rows = division.mode == ParallelModeName(ParallelMode::kData);
  TextTable table({"part", "on", "MAC a row", "weights", rows ? "rows" : "hands over a row"});
  for (const ModelPart& part : division.parts) {
    table.AddRow({part.name, part.backend, WithCommas(static_cast<double>(part.row_macs)),
                  Bytes(static_cast<double>(part.weight_bytes)),
                  rows ? absl::StrCat(part.rows, " of ", executable.max_rows())
                       : Bytes(static_cast<double>(part.handed_bytes))});
  }
  absl::StrAppend(&text, "\ndivided, ", division.mode, ":\n", table.Text());
  return text;
}

void AddInspectOptions(CLI::App& command, InspectOptions& options) {
  command
      .add_option("model", options.model,
                  "Model file, or folder of a model repository (its newest version)")
      ->type_name("MODEL")
      ->required();
  command.add_flag("--plan", options.plan,
                   "Print the compiled plan: steps, kernels, shapes, bits, bytes, MACs, arena");
  command.add_flag("--reference", options.reference,
                   "Print the graph as the file has it, node by node");
  command
      .add_option("--isa", options.isa, absl::StrCat("Instruction set of the plan: ", IsaChoices()))
      ->type_name("NAME")
      ->capture_default_str();
  command.add_option("--max-rows", options.max_rows, "Largest batch that the plan is made for")
      ->type_name("ROWS")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command
      .add_option("--plan-cache", options.plan_cache,
                  "Where compiled plans are kept: beside the model, a folder, or off")
      ->type_name("DIR|beside|off")
      ->capture_default_str();
  AddTuneOption(command, options.tune_seconds);
  command
      .add_option("--backend", options.backend,
                  "What computes it: cpu, opencl, cuda, or auto, which shows where batches go")
      ->check(CLI::IsMember({"cpu", "opencl", "cuda", "auto"}))
      ->type_name("NAME")
      ->capture_default_str();
  command
      .add_option("--parallel", options.parallel,
                  "How it is divided, as the parameter of that name: off, auto, data:2, tensor:2, "
                  "pipeline:cpu,opencl ..")
      ->type_name("HOW")
      ->capture_default_str();
  command
      .add_option("--route-ms", options.route_ms,
                  "Milliseconds of measuring backends, or parts of the model")
      ->type_name("MS")
      ->check(CLI::Range(int64_t{0}, int64_t{60'000}))
      ->capture_default_str();
  command
      .add_option("--cuda-device", options.cuda_device,
                  "CUDA device: its number or a part of its name in 'bitmill devices'")
      ->type_name("DEVICE");
  AddOpenClOptions(command, options.opencl_device, options.opencl_cache);
  AddPrecisionOptions(command, options.precision);
  command
      .add_option("--labels", options.labels,
                  "Right classes of the calibration rows: an array of their file, or a file")
      ->type_name("ARRAY|FILE");
}

absl::Status RunInspect(const InspectOptions& options) {
  const bool changed = options.precision.precision != "exact" || !options.precision.plain();
  const bool on_cpu = options.backend == "cpu" && options.parallel == "off";
  if (changed && !on_cpu) {
    return absl::InvalidArgumentError("a precision is shown of models on the CPU, not divided");
  }
  BITMILL_ASSIGN_OR_RETURN(const std::string path, FindModelFile(options.model));
  BITMILL_ASSIGN_OR_RETURN(const Graph graph, ReadModelFile(path));
  std::error_code error;
  const auto file_bytes = static_cast<double>(std::filesystem::file_size(path, error));
  std::string text = absl::StrCat(
      path, ": ", graph.name.empty() ? "unnamed graph" : absl::StrCat("graph '", graph.name, "'"),
      ", opset ", graph.opset, ", ", error ? "" : absl::StrCat(Bytes(file_bytes), ", "),
      graph.batchable ? "batches rows\n\n" : "one row a request\n\n");
  absl::StrAppend(&text, DescribePorts(graph), "\n", DescribeOperators(graph), "\n");
  BITMILL_ASSIGN_OR_RETURN(const std::string weights, DescribeWeights(graph));
  absl::StrAppend(&text, weights);

  CompileOptions compile;
  compile.isa = options.isa;
  compile.tune_seconds = options.tune_seconds;
  compile.max_rows = graph.batchable ? options.max_rows : 1;
  Computing computing;
  if (!on_cpu) {
    compile.parallel = options.parallel;
    BITMILL_RETURN_IF_ERROR(computing.Start(options));
  }
  const PlanCacheOptions plan_cache = ParsePlanCache(options.plan_cache);
  BITMILL_ASSIGN_OR_RETURN(CompiledModel compiled,
                           on_cpu ? CompileFileOnCpu(path, compile, plan_cache)
                                  : CompileFile(computing.backend(), path, compile, plan_cache));
  std::unique_ptr<Executable> executable = std::move(compiled.executable);
  std::string precision_text;
  if (changed) {
    BITMILL_ASSIGN_OR_RETURN(precision_text, UsePrecision(graph, compile, options, executable));
  }
  const std::string device = on_cpu ? "" : computing.backend().device_name();
  const std::string isa = options.isa == "auto" ? IsaName(BestIsa()) : options.isa;
  absl::StrAppend(&text, "\ncompiled for ", device.empty() ? isa : device, ": ",
                  Bytes(static_cast<double>(executable->weight_bytes())), " packed weights, ",
                  Bytes(static_cast<double>(executable->arena_bytes())), " arena, ",
                  WithCommas(static_cast<double>(executable->row_macs())),
                  " multiply-accumulates a row\n");
  absl::StrAppend(&text, DescribePlaces(*executable));
  if (options.reference) absl::StrAppend(&text, "\n", DescribeNodes(graph));
  if (options.plan) {
    absl::StrAppend(&text, "\n", executable->DescribePlan());
    if (precision_text.empty()) absl::StrAppend(&text, "plan: ", compiled.origin, "\n");
  }
  absl::StrAppend(&text, precision_text);
  std::fputs(text.c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace bitmill
