// Geometry that the low-bit convolutions share: window, border, groups, logical weights.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "backends/cpu/buffer_layout.h"
#include "model/lowered.h"

namespace bitmill {

struct ConvWindow {
  int64_t in_channels = 0, out_channels = 0, groups = 1;
  int64_t in_h = 1, in_w = 1, out_h = 1, out_w = 1;
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;

  int64_t taps() const { return kernel_h * kernel_w; }
  // A dense layer: the rows of a chunk can be handled as the pixels of one line.
  bool single_pixel() const { return out_h * out_w == 1; }
  int64_t macs() const { return out_h * out_w * out_channels * (in_channels / groups) * taps(); }
  // A pixel of the output depends on the same pixel of the input alone.
  bool pointwise() const {
    return kernel_h == 1 && kernel_w == 1 && stride_h == 1 && stride_w == 1 && pad_top == 0 &&
           pad_left == 0 && in_h == out_h && in_w == out_w;
  }
  // Pixels that windows reach beyond each edge of the image.
  Border NeededBorder() const;
};

// A window along height or width: pixels of the image and of the output, taps, and their distances.
struct WindowAxis {
  int64_t in, out, kernel, stride, dilation, pad;
};

// Whether no place that the window comes to overflows 32 bits. False for what is negative, but the
// padding.
bool ReachFits(const WindowAxis& axis);

// Multiply-accumulates of a row: the product of these. ResourceExhausted beyond 2^48, which no
// model that is run has; sums over all layers fit.
absl::StatusOr<int64_t> CountMacs(absl::Span<const int64_t> dims);

// Internal when shapes and weights disagree; Unimplemented for negative padding.
absl::StatusOr<ConvWindow> MakeConvWindow(const LowBitConvOp& op, const BufferLayout& input,
                                          const BufferLayout& output);

// Kernels take one group a call, whose channels must start on a `unit` of channels (64 for bits, 4
// for codes). Groups that do not are merged, `merged` at a time, with zero weights between a
// channel and the outputs of other groups: exact, at the price of products with zero.
struct GroupSplit {
  int64_t calls = 1;
  int64_t channels = 0;  // of a call
  int64_t outputs = 0;   // of a call
  int64_t merged = 1;    // groups a call
};

GroupSplit SplitGroups(const ConvWindow& window, int64_t unit);

// Logical weights w[outputs][channels][taps] of one call, with zeros where groups were merged.
// ResourceExhausted when they would take more than 1 GiB; FailedPrecondition when the operation
// came from a plan file without them.
absl::StatusOr<std::vector<int8_t>> CallWeights(const LowBitConvOp& op, const ConvWindow& window,
                                                const GroupSplit& split, int64_t call);

// Which taps fall outside the image, for zero padding: output pixels with the same set share a
// class. Class of (y, x) is row_class[y] * col_classes + col_class[x].
struct PaddingClasses {
  std::vector<int32_t> row_class, col_class;  // [out_h], [out_w]
  // [row classes][kernel_h] and [col_classes][kernel_w]; 1 where the tap is outside.
  std::vector<std::vector<uint8_t>> rows, cols;

  int64_t count() const { return static_cast<int64_t>(rows.size() * cols.size()); }
  bool Outside(int64_t klass, int64_t tap_h, int64_t tap_w) const {
    const auto columns = static_cast<int64_t>(cols.size());
    return rows[static_cast<size_t>(klass / columns)][static_cast<size_t>(tap_h)] != 0 ||
           cols[static_cast<size_t>(klass % columns)][static_cast<size_t>(tap_w)] != 0;
  }
};

// The code of a border pixel of codes; Unimplemented when it is not one of 0 to 255.
absl::StatusOr<int32_t> PaddingCode(Padding padding, const CodeInfo& code);

PaddingClasses ClassifyPadding(const ConvWindow& window);

}  // namespace bitmill
