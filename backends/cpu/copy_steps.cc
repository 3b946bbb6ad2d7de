// Copies at the edges of a plan: request rows into the arena, results out of it, and a bits or
// codes buffer into one with another border.
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

StepPtr MakeBorderStep(const Operand& input, const Operand& output) {
  auto step = std::make_unique<BorderStep>();
  step->input = input;
  step->output = output;
  step->mutable_info().kernel = "border";
  return step;
}

}  // namespace bitmill
