// Float maps joined along their channels, channels innermost: a copy, line by line, of those that
// are not part of the whole already.
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/cpu/line_step.h"
#include "backends/cpu/steps.h"

namespace bitmill {
namespace {

class FloatConcatStep final : public LineStep {
 public:
  LineAccess access() const override {
    return {output.layout.height, output.layout.row_bytes, -1, output.buffer};
  }

  absl::Status RunLines(const StepRun& run, int64_t r, int64_t first,
                        int64_t count) const override {
    std::byte* const lines =
        output.Base(run) + r * output.layout.image_bytes + first * output.layout.row_bytes;
    const int64_t pixels = count * output.layout.width;
    int64_t offset = 0;
    for (const Operand& input : inputs) {
      const int64_t bytes = input.layout.channels * int64_t{sizeof(float)};
      std::byte* const to = lines + offset;
      offset += bytes;
      if (input.buffer == output.buffer) continue;
      const std::byte* const from = input.Row(run, r) + first * input.layout.row_bytes;
      for (int64_t p = 0; p < pixels; ++p) {
        std::memcpy(to + p * output.layout.pixel_bytes, from + p * input.layout.pixel_bytes,
                    static_cast<size_t>(bytes));
      }
    }
    return absl::OkStatus();
  }

  std::vector<Operand> inputs;
  Operand output;
};

}  // namespace

absl::StatusOr<StepPtr> MakeFloatConcatStep(std::vector<Operand> inputs, const Operand& output) {
  int64_t channels = 0;
  for (const Operand& input : inputs) {
    channels += input.layout.channels;
    if (input.layout.storage != Storage::kPixelFloat ||
        input.layout.height != output.layout.height || input.layout.width != output.layout.width) {
      return absl::InternalError("maps that are joined differ in storage or size");
    }
  }
  if (output.layout.storage != Storage::kPixelFloat || channels != output.layout.channels) {
    return absl::InternalError(
        absl::StrCat(channels, " channels joined to ", output.layout.channels));
  }
  auto step = std::make_unique<FloatConcatStep>();
  step->inputs = std::move(inputs);
  step->output = output;
  const bool in_place = step->inputs.front().buffer == output.buffer;
  step->mutable_info().kernel = in_place ? "concat in place" : "concat";
  return step;
}

}  // namespace bitmill
