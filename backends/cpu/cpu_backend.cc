#include "backends/cpu/cpu_backend.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/calibrate.h"
#include "backends/cpu/cpu_executable.h"
#include "backends/cpu/plan.h"
#include "backends/cpu/step_builder.h"
#include "base/status_macros.h"
#include "model/passes/passes.h"

namespace bitmill {
namespace {

absl::StatusOr<TensorSpec> SpecOf(const Graph& graph, const GraphPort& port) {
  const Value& value = graph.value(port.value);
  TensorSpec spec;
  spec.name = port.name;
  spec.dtype = value.dtype;
  const int64_t element_bytes = DTypeSize(value.dtype);
  if (element_bytes == 0) {
    return absl::UnimplementedError(absl::StrCat("tensor '", port.name, "' has type ",
                                                 DTypeName(value.dtype),
                                                 ", which the CPU backend does not take"));
  }
  for (const int64_t dim : value.shape) {
    if (dim < 1) {
      return absl::InvalidArgumentError(absl::StrCat("tensor '", port.name, "' has shape ",
                                                     ShapeToString(value.shape),
                                                     "; dimensions must be positive"));
    }
  }
  const size_t skipped = graph.batchable && !value.shape.empty() ? 1 : 0;
  spec.row_shape.assign(value.shape.begin() + skipped, value.shape.end());
  spec.row_bytes = ElementCount(value.shape) * element_bytes;
  return spec;
}

absl::StatusOr<Signature> SignatureOf(const Graph& graph) {
  Signature signature;
  signature.batchable = graph.batchable;
  for (const GraphPort& port : graph.inputs) {
    BITMILL_ASSIGN_OR_RETURN(TensorSpec spec, SpecOf(graph, port));
    signature.inputs.push_back(std::move(spec));
  }
  for (const GraphPort& port : graph.outputs) {
    BITMILL_ASSIGN_OR_RETURN(TensorSpec spec, SpecOf(graph, port));
    signature.outputs.push_back(std::move(spec));
  }
  return signature;
}

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(ForkJoin* helpers) : helpers_(helpers) {}

  std::string name() const override { return "cpu"; }

  absl::StatusOr<std::unique_ptr<Executable>> Compile(
      const Graph& graph, const CompileOptions& options) const override {
    if (options.max_rows < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("max_rows is ", options.max_rows, "; it must be at least 1"));
    }
    if (options.threads < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("threads is ", options.threads, "; it must be at least 0"));
    }
    BITMILL_ASSIGN_OR_RETURN(const KernelSet kernels, SelectKernels(options.isa));
    BITMILL_ASSIGN_OR_RETURN(Signature signature, SignatureOf(graph));
    BITMILL_ASSIGN_OR_RETURN(Graph lowered, Lower(graph));
    std::string precision;
    if (options.precision == Precision::kFast) {
      if (options.calibration == nullptr) {
        return absl::InvalidArgumentError("precision fast wants calibration rows");
      }
      // The samples run on the best kernels, whose results are those of any.
      BITMILL_ASSIGN_OR_RETURN(KernelSet best, SelectKernels("auto"));
      best.isa = kernels.isa;  // oneDNN's limit
      BITMILL_ASSIGN_OR_RETURN(FastModel fast, MakeFast(lowered, *options.calibration, best));
      lowered = std::move(fast.graph);
      precision = DescribeLayers(fast.layers, fast.rows);
    }
    const int64_t max_rows = graph.batchable ? options.max_rows : 1;
    BITMILL_ASSIGN_OR_RETURN(Plan plan, BuildPlan(lowered, kernels, max_rows, ThreadsFor(options)));
    std::string title =
        absl::StrCat("model '", graph.name, "' on cpu (", IsaName(kernels.isa),
                     "), batches of up to ", max_rows, precision.empty() ? "" : ", precision fast");
    return std::make_unique<CpuExecutable>(std::move(signature), std::move(plan), max_rows,
                                           std::move(title), std::move(precision), helpers_);
  }

 private:
  int ThreadsFor(const CompileOptions& options) const {
    const int width = helpers_ == nullptr ? 1 : helpers_->width();
    return options.threads == 0 ? width : std::min(options.threads, width);
  }

  ForkJoin* const helpers_;
};

}  // namespace

std::unique_ptr<Backend> CreateCpuBackend(ForkJoin* helpers) {
  return std::make_unique<CpuBackend>(helpers);
}

}  // namespace bitmill
