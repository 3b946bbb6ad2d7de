// Axes of a float tensor change places, whichever way both sides are stored.
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/sequence_steps.h"
#include "backends/cpu/strided_copy.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

class PermuteStep final : public Step {
 public:
  absl::Status Run(const StepRun& run) const override {
    for (int64_t r = 0; r < run.rows; ++r) {
      copy.Run(input.Row(run, r), output.Base(run) + r * output.layout.image_bytes);
    }
    return absl::OkStatus();
  }

  Operand input, output;
  StridedCopy copy;
};

}  // namespace

absl::StatusOr<StepPtr> MakePermuteStep(absl::Span<const int64_t> perm,
                                        absl::Span<const int64_t> shape, const Operand& input,
                                        const Operand& output, StepBuilder& builder) {
  const Shape from = StorageStrides(input.layout, shape);
  Shape result;
  for (const int64_t axis : perm) result.push_back(shape[static_cast<size_t>(axis)]);
  const Shape to = StorageStrides(output.layout, result);
  std::vector<CopyAxis> axes;
  axes.reserve(perm.size());
  for (size_t d = 0; d < perm.size(); ++d) {
    axes.push_back({result[d], from[static_cast<size_t>(perm[d])], to[d]});
  }
  auto step = std::make_unique<PermuteStep>();
  step->input = input;
  step->output = output;
  BITMILL_ASSIGN_OR_RETURN(step->copy,
                           StridedCopy::Make(std::move(axes), *builder.kernels().transpose));
  step->mutable_info().kernel = "permute";
  return step;
}

}  // namespace bitmill
