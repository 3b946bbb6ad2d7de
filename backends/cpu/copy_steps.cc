// Copies at the edges of a plan: request rows into the arena, results out of it, and a bits or
// codes buffer into one with another border.
#include <algorithm>
#include <cstring>
#include <utility>

#include "backends/cpu/steps.h"

namespace bitmill {
namespace {

class LoadStep final : public Step {
 public:
  absl::Status Run(const StepRun& run) const override {
    for (int64_t r = 0; r < run.rows; ++r) {
      std::memcpy(output.Base(run) + r * output.layout.image_bytes, input.Row(run, r), bytes);
    }
    return absl::OkStatus();
  }

  Operand input, output;
  size_t bytes = 0;
};

class StoreStep final : public Step {
 public:
  absl::Status Run(const StepRun& run) const override {
    for (int64_t r = 0; r < run.rows; ++r) {
      const void* const source =
          constant != nullptr ? constant->data() : static_cast<const void*>(input.Row(run, r));
      void* const to = run.batch->outputs[port][run.first_row + r];
      if (to != source) std::memcpy(to, source, bytes);
    }
    return absl::OkStatus();
  }

  Operand input;
  SharedTensor constant;
  size_t port = 0;
  size_t bytes = 0;
};

// The pixels of one image of bits or codes; what is behind the last channel stays as it is in `dst`
// where pixels are of different size.
void CopyPixels(const std::byte* src, int64_t src_line, int64_t src_pixel, std::byte* dst,
                int64_t dst_line, int64_t dst_pixel, const BufferLayout& size) {
  const auto line_bytes = static_cast<size_t>(size.width * src_pixel);
  const auto channel_bytes = static_cast<size_t>(std::min(src_pixel, dst_pixel));
  for (int64_t y = 0; y < size.height; ++y, src += src_line, dst += dst_line) {
    if (src_pixel == dst_pixel) {
      std::memcpy(dst, src, line_bytes);
      continue;
    }
    for (int64_t x = 0; x < size.width; ++x) {
      std::memcpy(dst + x * dst_pixel, src + x * src_pixel, channel_bytes);
    }
  }
}

// Rows of a port of bits or codes into the arena, with the border that is wanted there.
class CodedLoadStep final : public Step {
 public:
  absl::Status Run(const StepRun& run) const override {
    const BufferLayout& layout = output.layout;
    std::byte* const base = output.Base(run);
    PrepareBuffer(layout, base, run.rows);
    for (int64_t r = 0; r < run.rows; ++r) {
      const std::byte* const src = run.batch->inputs[port][run.first_row + r];
      CopyPixels(src, layout.width * pixel_bytes, pixel_bytes,
                 base + r * layout.image_bytes + layout.interior_bytes, layout.row_bytes,
                 layout.pixel_bytes, layout);
    }
    return absl::OkStatus();
  }

  Operand output;
  size_t port = 0;
  int64_t pixel_bytes = 0;  // in the request
};

class CodedStoreStep final : public Step {
 public:
  absl::Status Run(const StepRun& run) const override {
    const BufferLayout& layout = input.layout;
    for (int64_t r = 0; r < run.rows; ++r) {
      std::byte* const dst = run.batch->outputs[port][run.first_row + r];
      if (pixel_bytes > layout.pixel_bytes) {
        std::memset(dst, 0, static_cast<size_t>(layout.pixels() * pixel_bytes));
      }
      CopyPixels(input.Row(run, r) + layout.interior_bytes, layout.row_bytes, layout.pixel_bytes,
                 dst, layout.width * pixel_bytes, pixel_bytes, layout);
    }
    return absl::OkStatus();
  }

  Operand input;
  size_t port = 0;
  int64_t pixel_bytes = 0;  // in the request
};

class BorderStep final : public Step {
 public:
  absl::Status Run(const StepRun& run) const override {
    std::byte* const base = output.Base(run);
    PrepareBuffer(output.layout, base, run.rows, /*whole_pixels=*/true);
    const auto line_bytes = static_cast<size_t>(input.layout.width * input.layout.pixel_bytes);
    for (int64_t r = 0; r < run.rows; ++r) {
      const std::byte* src = input.Row(run, r) + input.layout.interior_bytes;
      std::byte* dst = base + r * output.layout.image_bytes + output.layout.interior_bytes;
      for (int64_t y = 0; y < input.layout.height; ++y) {
        std::memcpy(dst, src, line_bytes);
        src += input.layout.row_bytes;
        dst += output.layout.row_bytes;
      }
    }
    return absl::OkStatus();
  }

  Operand input, output;
};

}  // namespace

StepPtr MakeLoadStep(const Operand& input, const Operand& output) {
  auto step = std::make_unique<LoadStep>();
  step->input = input;
  step->output = output;
  step->bytes = static_cast<size_t>(input.layout.elements * DTypeSize(input.layout.dtype));
  step->mutable_info().kernel = "copy";
  return step;
}

StepPtr MakeStoreStep(const Operand& input, SharedTensor constant, int32_t output_port,
                      int64_t row_bytes) {
  auto step = std::make_unique<StoreStep>();
  step->input = input;
  step->constant = std::move(constant);
  step->port = static_cast<size_t>(output_port);
  step->bytes = static_cast<size_t>(row_bytes);
  step->mutable_info().kernel = "copy";
  return step;
}

StepPtr MakeCodedLoadStep(int32_t input_port, int64_t pixel_bytes, const Operand& output) {
  auto step = std::make_unique<CodedLoadStep>();
  step->output = output;
  step->port = static_cast<size_t>(input_port);
  step->pixel_bytes = pixel_bytes;
  step->mutable_info().kernel = "copy";
  return step;
}

StepPtr MakeCodedStoreStep(const Operand& input, int32_t output_port, int64_t pixel_bytes) {
  auto step = std::make_unique<CodedStoreStep>();
  step->input = input;
  step->port = static_cast<size_t>(output_port);
  step->pixel_bytes = pixel_bytes;
  step->mutable_info().kernel = "copy";
  return step;
}

StepPtr MakeBorderStep(const Operand& input, const Operand& output) {
  auto step = std::make_unique<BorderStep>();
  step->input = input;
  step->output = output;
  step->mutable_info().kernel = "border";
  return step;
}

}  // namespace bitmill
