#include "backends/cpu/conv_window.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxCallWeightBytes = int64_t{1} << 30;

// Sets of outside taps along one axis, numbered as they appear.
std::vector<std::vector<uint8_t>> ClassifyAxis(const WindowAxis& axis,
                                               std::vector<int32_t>& classes) {
  std::vector<std::vector<uint8_t>> sets;
  std::map<std::string, int32_t> known;
  classes.clear();
  for (int64_t o = 0; o < axis.out; ++o) {
    std::vector<uint8_t> outside(static_cast<size_t>(axis.kernel));
    for (int64_t k = 0; k < axis.kernel; ++k) {
      const int64_t at = o * axis.stride - axis.pad + k * axis.dilation;
      outside[static_cast<size_t>(k)] = at < 0 || at >= axis.in ? 1 : 0;
    }
    const auto [place, added] = known.emplace(std::string(outside.begin(), outside.end()),
                                              static_cast<int32_t>(sets.size()));
    if (added) sets.push_back(std::move(outside));
    classes.push_back(place->second);
  }
  return sets;
}

int64_t BorderBehind(const WindowAxis& axis) {
  const int64_t last = (axis.out - 1) * axis.stride - axis.pad + (axis.kernel - 1) * axis.dilation;
  return std::max<int64_t>(0, last + 1 - axis.in);
}

}  // namespace

bool ReachFits(const WindowAxis& axis) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const std::optional<int64_t> reach =
      CheckedAdd(CheckedMul(axis.out, axis.stride).value_or(-1),
                 CheckedMul(axis.kernel, axis.dilation).value_or(-1));
  return reach.has_value() && *reach < kMost && axis.pad > -kMost && axis.pad < kMost;
}

absl::StatusOr<int64_t> CountMacs(absl::Span<const int64_t> dims) {
  constexpr int64_t kMost = int64_t{1} << 48;
  const std::optional<int64_t> macs = CheckedProduct(dims);
  if (macs.has_value() && *macs <= kMost) return *macs;
  return absl::ResourceExhaustedError("a row of the layer takes more than 2^48 multiplications");
}

Border ConvWindow::NeededBorder() const {
  Border border;
  border.top = pad_top;
  border.left = pad_left;
  border.bottom = BorderBehind({in_h, out_h, kernel_h, stride_h, dilation_h, pad_top});
  border.right = BorderBehind({in_w, out_w, kernel_w, stride_w, dilation_w, pad_left});
  return border;
}

absl::StatusOr<ConvWindow> MakeConvWindow(const LowBitConvOp& op, const BufferLayout& input,
                                          const BufferLayout& output) {
  if (op.weights == nullptr || op.weights->dtype() != DType::kInt8 ||
      (op.weights->shape().size() != 4 && op.weights->shape().size() != 2)) {
    return absl::InternalError("low-bit weights are not int8 [O,C/groups,KH,KW]");
  }
  const Shape& shape = op.weights->shape();
  ConvWindow window;
  window.in_channels = input.channels;
  window.out_channels = output.channels;
  window.groups = op.groups;
  window.in_h = input.height;
  window.in_w = input.width;
  window.out_h = output.height;
  window.out_w = output.width;
  window.kernel_h = shape.size() == 4 ? shape[2] : 1;
  window.kernel_w = shape.size() == 4 ? shape[3] : 1;
  window.stride_h = op.stride_h;
  window.stride_w = op.stride_w;
  window.dilation_h = op.dilation_h;
  window.dilation_w = op.dilation_w;
  window.pad_top = op.pad_top;
  window.pad_left = op.pad_left;
  if (op.groups < 1 || shape[0] != output.channels ||
      CheckedMul(shape[1], op.groups) != input.channels || output.channels % op.groups != 0) {
    return absl::InternalError(absl::StrCat("weights ", ShapeToString(shape), " in ", op.groups,
                                            " groups do not fit ", input.channels, " -> ",
                                            output.channels, " channels"));
  }
  if (window.stride_h < 1 || window.stride_w < 1 || window.dilation_h < 1 ||
      window.dilation_w < 1 || window.kernel_h < 1 || window.kernel_w < 1) {
    return absl::InternalError("kernel, strides and dilations must be positive");
  }
  if (op.pad_top < 0 || op.pad_left < 0 || op.pad_bottom < 0 || op.pad_right < 0) {
    return absl::UnimplementedError("negative padding of a low-bit convolution");
  }
  if (!ReachFits(
          {window.in_h, window.out_h, window.kernel_h, op.stride_h, op.dilation_h, op.pad_top}) ||
      !ReachFits(
          {window.in_w, window.out_w, window.kernel_w, op.stride_w, op.dilation_w, op.pad_left})) {
    return absl::ResourceExhaustedError("window of a low-bit convolution reaches beyond 2^31");
  }
  BITMILL_RETURN_IF_ERROR(CountMacs({output.height, output.width, output.channels, shape[1],
                                     window.kernel_h, window.kernel_w})
                              .status());
  return window;
}

GroupSplit SplitGroups(const ConvWindow& window, int64_t unit) {
  const int64_t channels = window.in_channels / window.groups;
  const int64_t outputs = window.out_channels / window.groups;
  // The smallest number of groups that keeps both sides on whole units; outputs come in eights.
  int64_t merged = window.groups;
  for (int64_t m = 1; m < window.groups; ++m) {
    if (window.groups % m == 0 && m * channels % unit == 0 && m * outputs % 8 == 0) {
      merged = m;
      break;
    }
  }
  return {window.groups / merged, merged * channels, merged * outputs, merged};
}

absl::StatusOr<std::vector<int8_t>> CallWeights(const LowBitConvOp& op, const ConvWindow& window,
                                                const GroupSplit& split, int64_t call) {
  if (!op.weights->has_elements()) {
    return absl::FailedPreconditionError("the plan file has no weights of this layer");
  }
  const int64_t taps = window.taps();
  const int64_t channels = split.channels / split.merged;
  const int64_t outputs = split.outputs / split.merged;
  const int64_t dims[] = {split.outputs, split.channels, taps};
  const std::optional<int64_t> bytes = CheckedProduct(dims);
  if (!bytes.has_value() || *bytes > kMaxCallWeightBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("grouped weights would take ", bytes.value_or(-1), " bytes when expanded"));
  }
  std::vector<int8_t> weights(static_cast<size_t>(*bytes));
  const int8_t* source = op.weights->span<int8_t>().data() + call * split.outputs * channels * taps;
  for (int64_t o = 0; o < split.outputs; ++o) {
    const int64_t first_channel = o / outputs * channels;
    std::copy_n(source + o * channels * taps, channels * taps,
                weights.data() + (o * split.channels + first_channel) * taps);
  }
  return weights;
}

absl::StatusOr<int32_t> PaddingCode(Padding padding, const CodeInfo& code) {
  const int64_t fill = int64_t{code.zero_point} + (padding == Padding::kZero      ? 0
                                                   : padding == Padding::kPlusOne ? 1
                                                                                  : -1);
  if (fill < 0 || fill > 255) {
    return absl::UnimplementedError(absl::StrCat("padding whose code would be ", fill,
                                                 "; codes are 0 to 255 (the zero point is ",
                                                 code.zero_point, ")"));
  }
  return static_cast<int32_t>(fill);
}

PaddingClasses ClassifyPadding(const ConvWindow& window) {
  PaddingClasses classes;
  classes.rows = ClassifyAxis({window.in_h, window.out_h, window.kernel_h, window.stride_h,
                               window.dilation_h, window.pad_top},
                              classes.row_class);
  classes.cols = ClassifyAxis({window.in_w, window.out_w, window.kernel_w, window.stride_w,
                               window.dilation_w, window.pad_left},
                              classes.col_class);
  return classes;
}

}  // namespace bitmill
