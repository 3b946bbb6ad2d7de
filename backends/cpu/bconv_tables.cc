#include "backends/cpu/bconv_tables.h"

#include <algorithm>
#include <limits>

#include "base/status_macros.h"
#include "kernels/bconv/bconv_table.h"

namespace bitmill {
namespace {

bool AllOneBit(const std::vector<int8_t>& weights, bool zeros_allowed) {
  return std::all_of(weights.begin(), weights.end(),
                     [&](int8_t w) { return w == 1 || w == -1 || (w == 0 && zeros_allowed); });
}

}  // namespace

void FillBconvBase(const std::vector<int8_t>& weights, const uint8_t* negate,
                   const GroupSplit& split, const ConvWindow& window, const PaddingClasses* padding,
                   int32_t* base) {
  const int64_t taps = window.taps();
  const int64_t padded = (split.outputs + 7) / 8 * 8;
  std::vector<int32_t> products(static_cast<size_t>(taps)), negatives(products.size());
  for (int64_t o = 0; o < split.outputs; ++o) {
    std::fill(products.begin(), products.end(), 0);
    std::fill(negatives.begin(), negatives.end(), 0);
    const int sign = negate != nullptr && negate[o] != 0 ? -1 : 1;
    for (int64_t c = 0; c < split.channels; ++c) {
      const int8_t* const w = weights.data() + (o * split.channels + c) * taps;
      for (int64_t t = 0; t < taps; ++t) {
        products[static_cast<size_t>(t)] += w[t] != 0 ? 1 : 0;
        negatives[static_cast<size_t>(t)] += w[t] * sign < 0 ? 1 : 0;
      }
    }
    const int64_t classes = padding == nullptr ? 1 : padding->count();
    for (int64_t k = 0; k < classes; ++k) {
      int32_t sum = 0;
      for (int64_t t = 0; t < taps; ++t) {
        const bool outside =
            padding != nullptr && padding->Outside(k, t / window.kernel_w, t % window.kernel_w);
        sum += outside ? 2 * negatives[static_cast<size_t>(t)] : products[static_cast<size_t>(t)];
      }
      base[k * padded + o] = sum;
    }
  }
}

int32_t BconvLimit(int32_t base, int32_t threshold) {
  if (threshold == std::numeric_limits<int32_t>::max()) return -1;
  if (threshold == std::numeric_limits<int32_t>::min()) return std::numeric_limits<int32_t>::max();
  const int64_t difference = int64_t{base} - threshold;
  const int64_t limit = difference >= 0 ? difference / 2 : -((1 - difference) / 2);
  return static_cast<int32_t>(std::clamp<int64_t>(limit, -1, std::numeric_limits<int32_t>::max()));
}

BconvTaps JoinTaps(const ConvWindow& window, const BufferLayout& in, int32_t c_words,
                   bool whole_pixels) {
  const int64_t pixel_words = in.pixel_bytes / 8, row_words = in.row_bytes / 8;
  int64_t lines = window.kernel_h, columns = window.kernel_w, words = c_words;
  if (whole_pixels && window.dilation_w == 1) {
    words *= columns;
    columns = 1;
    if (window.dilation_h == 1 && words == row_words) {
      words *= lines;
      lines = 1;
    }
  }
  BconvTaps taps;
  taps.c_words = static_cast<int32_t>(words);
  for (int64_t y = 0; y < lines; ++y) {
    for (int64_t x = 0; x < columns; ++x) {
      taps.words.push_back(static_cast<int32_t>(y * window.dilation_h * row_words +
                                                x * window.dilation_w * pixel_words));
    }
  }
  return taps;
}

std::vector<int32_t> BconvLimits(const std::vector<int32_t>& base, int64_t classes,
                                 const GroupSplit& split, const std::vector<int32_t>& thresholds) {
  const int64_t padded = (split.outputs + 7) / 8 * 8;
  std::vector<int32_t> limits(base.size());
  for (int64_t row = 0; row < split.calls * classes; ++row) {
    for (int64_t o = 0; o < split.outputs; ++o) {
      const auto at = static_cast<size_t>(row * padded + o);
      const auto channel = static_cast<size_t>(row / classes * split.outputs + o);
      limits[at] = BconvLimit(base[at], thresholds[channel]);
    }
  }
  return limits;
}

std::vector<float> PadCalls(const std::vector<float>& values, const GroupSplit& split) {
  const int64_t padded = (split.outputs + 7) / 8 * 8;
  std::vector<float> result(static_cast<size_t>(split.calls * padded), 0.0F);
  for (int64_t g = 0; g < split.calls; ++g) {
    std::copy_n(values.begin() + g * split.outputs, split.outputs, result.begin() + g * padded);
  }
  return result;
}

absl::Status FillBconvFilter(const LowBitConvOp& op, const ConvWindow& window,
                             const GroupSplit& split, const PaddingClasses* padding, int32_t planes,
                             uint64_t* packed, int32_t* base) {
  const auto outputs = static_cast<int32_t>(split.outputs);
  const auto channels = static_cast<int32_t>(split.channels);
  const auto taps = static_cast<int32_t>(window.taps());
  const int64_t classes = padding == nullptr ? 1 : padding->count();
  for (int64_t g = 0; g < split.calls; ++g) {
    BITMILL_ASSIGN_OR_RETURN(const std::vector<int8_t> weights, CallWeights(op, window, split, g));
    if (!AllOneBit(weights, planes == 2)) {
      return absl::InternalError("weights of a 1-bit or ternary convolution are not -1, 0 or 1");
    }
    const uint8_t* const negate = op.flip.empty() ? nullptr : op.flip.data() + g * split.outputs;
    PackBconvWeights(weights.data(), outputs, channels, taps, planes, negate,
                     packed + g * PackedBconvWords(outputs, channels, taps, planes));
    FillBconvBase(weights, negate, split, window, padding,
                  base + g * classes * ((split.outputs + 7) / 8 * 8));
  }
  return absl::OkStatus();
}

}  // namespace bitmill
