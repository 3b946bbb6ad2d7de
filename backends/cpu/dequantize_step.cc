// bits or codes, channels innermost -> float: scale * (code - zero_point), or scale * +-1 for bits.
// A table of the few values that can occur gives exactly the definition; blocks of pixels are
// transposed on the way when the output is planar.
#include <algorithm>
#include <array>

#include "backends/cpu/steps.h"

namespace bitmill {
namespace {

// Pixels handled together, so that writes to each channel's plane fill whole cache lines.
constexpr int64_t kBlockPixels = 16;

class DequantizeStep final : public Step {
 public:
  int64_t parts() const override { return input.layout.height; }

  absl::Status Run(const StepRun& run) const override {
    return RunParts(run, 0, input.layout.height);
  }

  absl::Status RunParts(const StepRun& run, int64_t first, int64_t count) const override {
    for (int64_t r = 0; r < run.rows; ++r) {
      const std::byte* const src = input.Row(run, r) + input.layout.interior_bytes;
      auto* const dst = reinterpret_cast<float*>(output.Base(run) + r * output.layout.image_bytes);
      for (int64_t y = first; y < first + count; ++y) {
        ConvertLine(src + y * input.layout.row_bytes, dst, y * input.layout.width);
      }
    }
    return absl::OkStatus();
  }

  void ConvertLine(const std::byte* src, float* dst, int64_t first_pixel) const {
    const int64_t channels = input.layout.channels;
    const bool interleaved = output.layout.storage == Storage::kPixelFloat;
    const int64_t pixel_stride = interleaved ? channels : 1;
    const int64_t channel_stride = interleaved ? 1 : input.layout.pixels();
    for (int64_t begin = 0; begin < input.layout.width; begin += kBlockPixels) {
      const int64_t end = std::min(begin + kBlockPixels, input.layout.width);
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t x = begin; x < end; ++x) {
          dst[(first_pixel + x) * pixel_stride + c * channel_stride] =
              values[CodeAt(src + x * input.layout.pixel_bytes, c)];
        }
      }
    }
  }

  size_t CodeAt(const std::byte* pixel, int64_t channel) const {
    if (input.layout.storage == Storage::kCodes) return static_cast<size_t>(pixel[channel]);
    return (static_cast<size_t>(pixel[channel / 8]) >> (channel % 8)) & 1U;
  }

  Operand input, output;
  std::array<float, 256> values{};  // of each code; of bit 0 and bit 1
};

}  // namespace

absl::StatusOr<StepPtr> MakeDequantizeStep(const CodeInfo& code, const Operand& input,
                                           const Operand& output) {
  auto step = std::make_unique<DequantizeStep>();
  step->input = input;
  step->output = output;
  if (input.layout.storage == Storage::kBits) {
    step->values[0] = code.scale;
    step->values[1] = -code.scale;
  } else {
    for (int32_t i = 0; i < 256; ++i) {
      step->values[static_cast<size_t>(i)] = code.scale * static_cast<float>(i - code.zero_point);
    }
  }
  StepInfo& info = step->mutable_info();
  info.kernel = "dequantize";
  info.weight_bytes = static_cast<int64_t>(sizeof step->values);
  return step;
}

}  // namespace bitmill
