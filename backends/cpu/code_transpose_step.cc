// Tokens and channels of bits or codes change places: [1, C, 1, W] -> [1, W, 1, C], of which the
// storage is a matrix of pixels by channels each.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/cpu/sequence_steps.h"

namespace bitmill {
namespace {

// Eight rows of eight bits, the lowest first, become eight columns (Hacker's Delight, 7-3).
uint64_t TransposeBits(uint64_t x) {
  uint64_t t = (x ^ (x >> 7)) & 0x00aa00aa00aa00aaULL;
  x ^= t ^ (t << 7);
  t = (x ^ (x >> 14)) & 0x0000cccc0000ccccULL;
  x ^= t ^ (t << 14);
  t = (x ^ (x >> 28)) & 0x00000000f0f0f0f0ULL;
  return x ^ t ^ (t << 28);
}

class CodeTransposeStep final : public Step {
 public:
  absl::Status Run(const StepRun& run) const override {
    PrepareBuffer(output.layout, output.Base(run), run.rows);
    for (int64_t r = 0; r < run.rows; ++r) {
      const std::byte* const src = input.Row(run, r) + input.layout.interior_bytes;
      std::byte* const dst =
          output.Base(run) + r * output.layout.image_bytes + output.layout.interior_bytes;
      if (output.layout.storage == Storage::kBits) {
        RunBits(src, dst);
      } else {
        kernel->bytes({src, dst, input.layout.width, input.layout.channels,
                       input.layout.pixel_bytes, output.layout.pixel_bytes});
      }
    }
    return absl::OkStatus();
  }

  // Blocks of 8 pixels by 8 channels. Bits past the last channel of a pixel are zero.
  void RunBits(const std::byte* src, std::byte* dst) const {
    const int64_t pixels = input.layout.width;
    const int64_t channels = input.layout.channels;
    for (int64_t c = 0; c < channels; c += 8) {
      for (int64_t p = 0; p < pixels; p += 8) {
        uint64_t block = 0;
        for (int64_t i = 0; i < std::min<int64_t>(8, pixels - p); ++i) {
          block |= static_cast<uint64_t>(src[(p + i) * input.layout.pixel_bytes + c / 8])
                   << (8 * i);
        }
        block = TransposeBits(block);
        for (int64_t i = 0; i < std::min<int64_t>(8, channels - c); ++i) {
          dst[(c + i) * output.layout.pixel_bytes + p / 8] =
              static_cast<std::byte>(block >> (8 * i) & 0xffU);
        }
      }
    }
  }

  Operand input, output;
  const TransposeKernel* kernel = nullptr;
};

}  // namespace

absl::StatusOr<StepPtr> MakeCodeTransposeStep(const Operand& input, const Operand& output,
                                              StepBuilder& builder) {
  const BufferLayout& in = input.layout;
  const BufferLayout& out = output.layout;
  if (in.height != 1 || out.height != 1 || in.width != out.channels || in.channels != out.width ||
      in.storage != out.storage) {
    return absl::InternalError(absl::StrCat("a transposition of ", in.channels, " x ", in.width,
                                            " codes to ", out.channels, " x ", out.width));
  }
  auto step = std::make_unique<CodeTransposeStep>();
  step->input = input;
  step->output = output;
  step->kernel = builder.kernels().transpose;
  step->mutable_info().kernel =
      out.storage == Storage::kBits ? "transpose bits" : step->kernel->name;
  return step;
}

}  // namespace bitmill
