#include "tools/client/signature.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

bool OpenBatch(const RemoteTensor& tensor) { return !tensor.shape.empty() && tensor.shape[0] < 0; }

absl::StatusOr<TensorSpec> SpecOf(const RemoteTensor& tensor, bool batchable) {
  TensorSpec spec;
  spec.name = tensor.name;
  spec.dtype = tensor.dtype;
  spec.row_shape.assign(tensor.shape.begin() + (batchable ? 1 : 0), tensor.shape.end());
  const std::optional<int64_t> elements = CheckedProduct(spec.row_shape);
  const std::optional<int64_t> bytes =
      elements.has_value() ? CheckedMul(*elements, DTypeSize(spec.dtype)) : std::nullopt;
  if (!bytes.has_value() || *bytes == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor '", tensor.name, "' is ", DTypeName(tensor.dtype), " ", ShapeToString(tensor.shape),
        "; only the first dimension may be open, and elements need a fixed size"));
  }
  spec.row_bytes = *bytes;
  return spec;
}

}  // namespace

absl::StatusOr<Signature> SignatureOf(const RemoteModel& model) {
  Signature signature;
  signature.batchable = !model.inputs.empty() &&
                        std::all_of(model.inputs.begin(), model.inputs.end(), OpenBatch) &&
                        std::all_of(model.outputs.begin(), model.outputs.end(), OpenBatch);
  for (const RemoteTensor& input : model.inputs) {
    BITMILL_ASSIGN_OR_RETURN(TensorSpec spec, SpecOf(input, signature.batchable));
    signature.inputs.push_back(std::move(spec));
  }
  for (const RemoteTensor& output : model.outputs) {
    // Outputs are read from answers, so an unusual one does not stop a request.
    absl::StatusOr<TensorSpec> spec = SpecOf(output, signature.batchable);
    signature.outputs.push_back(spec.ok() ? *std::move(spec)
                                          : TensorSpec{output.name, output.dtype, {}, 0});
  }
  return signature;
}

}  // namespace bitmill
