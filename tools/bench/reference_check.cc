#include "tools/bench/reference_check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/isa.h"
#include "model/reference.h"
#include "tools/input/elements.h"
#include "tools/local/local_model.h"

namespace bitmill {
namespace {

constexpr uint64_t kSeed = 1;

// Whether float layers, which may round differently from the reference, stand before quantizers:
// there a rounding error can turn a sign or a code, and that is no longer a rounding error.
bool RoundingTurnsCodes(const Executable& executable) {
  const std::string plan = executable.DescribePlan();
  return absl::StrContains(plan, "dnnl") &&
         (absl::StrContains(plan, "pack") || absl::StrContains(plan, "levels") ||
          absl::StrContains(plan, "Quant"));
}

// The same row through the reference kernels, with the same float layers: the same bits.
absl::Status CheckAgainstRefKernels(const Graph& graph, const std::vector<RowSet>& rows,
                                    const std::vector<NamedTensor>& got) {
  CompileOptions options;
  options.isa = IsaName(Isa::kRef);
  BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<Executable> plain, CompileOnCpu(graph, options));
  BITMILL_ASSIGN_OR_RETURN(const std::vector<NamedTensor> wanted, RunRows(*plain, rows, 1));
  for (size_t i = 0; i < wanted.size(); ++i) {
    const Tensor& want = wanted[i].tensor;
    if (std::memcmp(want.data(), got[i].tensor.data(), static_cast<size_t>(want.bytes())) != 0) {
      return absl::InternalError(
          absl::StrCat("output '", got[i].name, "' is not what the reference kernels give"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckAgainstReference(const Graph& graph, const Executable& executable) {
  constexpr double kTolerance = 1e-3, kRoughTolerance = 0.1;
  const bool rough = RoundingTurnsCodes(executable);
  const Signature& signature = executable.signature();
  std::vector<RowSet> rows;
  std::vector<Tensor> tensors;
  std::vector<TensorView> views;
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    BITMILL_ASSIGN_OR_RETURN(RowSet set, RandomRows(signature.inputs[i], 1, kSeed));
    const Value& value = graph.value(graph.inputs[i].value);
    BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(value.dtype, value.shape));
    if (tensor.bytes() != static_cast<int64_t>(set.bytes.size())) {
      return absl::InternalError("a row of the executable has another size than the graph's");
    }
    std::copy(set.bytes.begin(), set.bytes.end(), static_cast<char*>(tensor.data()));
    tensors.push_back(std::move(tensor));
    rows.push_back(std::move(set));
  }
  views.reserve(tensors.size());
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  BITMILL_ASSIGN_OR_RETURN(const std::vector<Tensor> wanted, RunReference(graph, views));
  BITMILL_ASSIGN_OR_RETURN(const std::vector<NamedTensor> got, RunRows(executable, rows, 1));
  if (rough) BITMILL_RETURN_IF_ERROR(CheckAgainstRefKernels(graph, rows, got));
  for (size_t i = 0; i < wanted.size(); ++i) {
    double largest = 1.0;
    for (int64_t at = 0; at < wanted[i].elements(); ++at) {
      largest = std::max(largest, std::abs(ElementAsDouble(wanted[i], at)));
    }
    for (int64_t at = 0; at < wanted[i].elements(); ++at) {
      const double want = ElementAsDouble(wanted[i], at);
      const double have = ElementAsDouble(got[i].tensor, at);
      const double allowed =
          rough ? kRoughTolerance * largest : kTolerance * std::max(1.0, std::abs(want));
      if (!(std::abs(want - have) <= allowed)) {
        return absl::InternalError(absl::StrCat("output '", got[i].name, "' element ", at, " is ",
                                                have, ", the reference says ", want));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace bitmill
