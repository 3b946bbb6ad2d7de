#include "backends/cpu/cpu_backend.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/coded_port.h"
#include "backends/cpu/calibrate.h"
#include "backends/cpu/dnnl_library.h"
#include "backends/cpu/node_order.h"
#include "backends/cpu/prepared_model.h"
#include "backends/cpu/step_builder.h"
#include "backends/cpu/stored_plan.h"
#include "base/log.h"
#include "base/program_id.h"
#include "base/status_macros.h"
#include "kernels/isa.h"
#include "model/passes/passes.h"

namespace bitmill {
namespace {

absl::StatusOr<TensorSpec> SpecOf(const Graph& graph, const GraphPort& port) {
  const Value& value = graph.value(port.value);
  TensorSpec spec;
  spec.name = port.name;
  if (value.code.kind != CodeKind::kNone) {
    const CodedPort coded = CodedPortOf(value);
    spec.dtype = DType::kUInt8;
    spec.row_shape = {coded.pixels, coded.pixel_bytes};
    spec.row_bytes = coded.row_bytes();
    spec.code = value.code;
    spec.channels = coded.channels;
    return spec;
  }
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

// What a plan depends on besides the model; a plan file is for one of these alone.
PlanKey KeyOf(const KernelSet& kernels, const CompileOptions& options) {
  return {{"program", absl::StrCat(BITMILL_VERSION, " ", ProgramId())},
          {"oneDNN", DnnlVersion()},
          {"CPU", CpuModelName()},
          {"instruction set", IsaName(kernels.isa)},
          {"precision", PrecisionName(options.precision)},
          {"calibration", options.precision == Precision::kFast ? options.calibration_digest : ""}};
}

// Those of the instruction set; in bfloat16 where that was asked for and is there.
absl::StatusOr<KernelSet> KernelsFor(const CompileOptions& options) {
  BITMILL_ASSIGN_OR_RETURN(KernelSet kernels, SelectKernels(options.isa));
  if (options.precision == Precision::kBf16) kernels.bf16 = DnnlHasBf16(kernels.isa);
  return kernels;
}

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(ForkJoin* helpers) : helpers_(helpers) {}

  std::string name() const override { return "cpu"; }

  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    BITMILL_ASSIGN_OR_RETURN(const KernelSet kernels, KernelsFor(options));
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
      BITMILL_ASSIGN_OR_RETURN(
          FastModel fast, MakeFast(lowered, *options.calibration, best, options.working_bytes));
      lowered = std::move(fast.graph);
      precision = DescribeLayers(fast.layers, fast.rows);
    } else if (options.precision == Precision::kBf16) {
      precision = kernels.bf16 ? "precision bf16: float layers multiply in bfloat16\n"
                               : "precision bf16: this CPU has no bfloat16 products, float layers "
                                 "stay in float\n";
      if (!kernels.bf16) {
        LogWarning(absl::StrCat("model '", EscapeForLog(graph.name), "': precision bf16, but ",
                                CpuModelName(), " at ", IsaName(kernels.isa),
                                " has no bfloat16 products; float layers stay in float"));
      }
    }
    ComputeBeforeSums(lowered);
    StoredPlan plan;
    plan.key = KeyOf(kernels, options);
    plan.graph = std::move(lowered);
    plan.precision = std::move(precision);
    return std::make_unique<CpuPreparedModel>(std::move(signature), std::move(plan), kernels,
                                              options, helpers_);
  }

  absl::StatusOr<std::unique_ptr<PreparedModel>> PrepareLowered(
      Graph lowered, const CompileOptions& options) const override {
    if (options.precision == Precision::kFast) {
      return absl::UnimplementedError("precision fast changes layers of the whole model");
    }
    BITMILL_ASSIGN_OR_RETURN(const KernelSet kernels, KernelsFor(options));
    BITMILL_ASSIGN_OR_RETURN(Signature signature, SignatureOf(lowered));
    ComputeBeforeSums(lowered);
    StoredPlan plan;
    plan.key = KeyOf(kernels, options);
    plan.graph = std::move(lowered);
    return std::make_unique<CpuPreparedModel>(std::move(signature), std::move(plan), kernels,
                                              options, helpers_);
  }

  absl::StatusOr<std::unique_ptr<PreparedModel>> OpenPlan(
      const std::string& path, uint32_t model_owner, const CompileOptions& options) const override {
    BITMILL_ASSIGN_OR_RETURN(const KernelSet kernels, KernelsFor(options));
    BITMILL_ASSIGN_OR_RETURN(StoredPlan stored,
                             ReadStoredPlan(path, model_owner, KeyOf(kernels, options)));
    // Not from the file, so that it cannot differ from what the steps read and write.
    absl::StatusOr<Signature> signature = SignatureOf(stored.graph);
    if (!signature.ok()) return absl::DataLossError(signature.status().message());
    return std::make_unique<CpuPreparedModel>(*std::move(signature), std::move(stored), kernels,
                                              options, helpers_);
  }

  absl::Status SaveBundle(const std::string& path, const PlanBundleParts& bundle,
                          const CompileOptions& options) const override {
    BITMILL_ASSIGN_OR_RETURN(const PlanKey key, BundleKey(bundle.purpose, options));
    std::vector<const StoredPlan*> parts;
    parts.reserve(bundle.parts.size());
    for (const PreparedModel* const part : bundle.parts) {
      parts.push_back(&static_cast<const CpuPreparedModel*>(part)->plan());
    }
    return WriteStoredBundle(path, key, bundle.source, bundle.lowered, std::string(bundle.notes),
                             parts);
  }

  absl::StatusOr<PlanBundle> OpenBundle(const std::string& path, uint32_t model_owner,
                                        absl::string_view purpose,
                                        const CompileOptions& options) const override {
    BITMILL_ASSIGN_OR_RETURN(const PlanKey key, BundleKey(purpose, options));
    BITMILL_ASSIGN_OR_RETURN(StoredBundle stored, ReadStoredBundle(path, model_owner, key));
    PlanBundle bundle{.source = stored.source,
                      .lowered = std::move(stored.graph),
                      .notes = std::move(stored.notes),
                      .parts = {}};
    for (StoredBundle::Part& part : stored.parts) {
      bundle.parts.push_back(std::make_unique<CpuPackedPart>(std::move(part)));
    }
    return bundle;
  }

 private:
  static absl::StatusOr<PlanKey> BundleKey(absl::string_view purpose,
                                           const CompileOptions& options) {
    BITMILL_ASSIGN_OR_RETURN(const KernelSet kernels, KernelsFor(options));
    PlanKey key = KeyOf(kernels, options);
    key.emplace_back("way of computing", purpose);
    return key;
  }

  ForkJoin* const helpers_;
};

}  // namespace

std::unique_ptr<Backend> CreateCpuBackend(ForkJoin* helpers) {
  return std::make_unique<CpuBackend>(helpers);
}

}  // namespace bitmill
