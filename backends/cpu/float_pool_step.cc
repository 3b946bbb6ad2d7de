// Maximum and average over windows of float maps, in whatever order they are stored; element for
// element what model/ops gives, taps in the same order.
//
// A line of the output is worked on tap by tap, so that the inner loop runs over channels (channels
// innermost) or over pixels (planes) and the compiler vectorizes it.
#include <algorithm>
#include <limits>
#include <vector>

#include "backends/cpu/steps.h"

namespace bitmill {
namespace {

// Output positions first .. last - 1 of an axis whose tap lies inside the image.
struct TapRange {
  int64_t first = 0, last = 0;
  int64_t input = 0;  // position that output 0 would read
};

std::vector<TapRange> RangesOf(const SlidingWindow& window, size_t axis) {
  std::vector<TapRange> ranges;
  const int64_t stride = window.stride[axis];
  for (int64_t k = 0; k < window.kernel[axis]; ++k) {
    TapRange range;
    range.input = k * window.dilation[axis] - window.pad_begin[axis];
    while (range.first < window.output[axis] && range.first * stride + range.input < 0) {
      ++range.first;
    }
    range.last = range.first;
    while (range.last < window.output[axis] &&
           range.last * stride + range.input < window.input[axis]) {
      ++range.last;
    }
    ranges.push_back(range);
  }
  return ranges;
}

// How many taps of each output position count: those inside the image, or, with padding, those
// inside the padded image (a window that ceil_mode adds may stick out of it).
std::vector<int64_t> CountsOf(const SlidingWindow& window, size_t axis, bool with_padding) {
  const int64_t pad = window.pad_begin[axis];
  const int64_t first = with_padding ? -pad : 0;
  const int64_t last = window.input[axis] + (with_padding ? window.pad_end[axis] : 0);
  std::vector<int64_t> counts;
  for (int64_t o = 0; o < window.output[axis]; ++o) {
    int64_t count = 0;
    for (int64_t k = 0; k < window.kernel[axis]; ++k) {
      const int64_t at = o * window.stride[axis] - pad + k * window.dilation[axis];
      count += at >= first && at < last ? 1 : 0;
    }
    counts.push_back(count);
  }
  return counts;
}

// Distances between neighbours, in elements.
struct MapStrides {
  int64_t pixel = 1, row = 1, channel = 1;
};

MapStrides StridesOf(const BufferLayout& layout) {
  if (layout.storage == Storage::kPixelFloat || layout.pixels() == 1) {
    return {layout.channels, layout.width * layout.channels, 1};
  }
  return {1, layout.width, layout.pixels()};
}

class FloatPoolStep final : public Step {
 public:
  absl::Status Run(const StepRun& run) const override {
    for (int64_t r = 0; r < run.rows; ++r) {
      const auto* const src = reinterpret_cast<const float*>(input.Row(run, r));
      auto* const dst = reinterpret_cast<float*>(output.Base(run) + r * output.layout.image_bytes);
      if (in.channel == 1 && out.channel == 1) {
        Pool(src, dst, output.layout.channels);
        continue;
      }
      for (int64_t c = 0; c < output.layout.channels; ++c) {
        Pool(src + c * in.channel, dst + c * out.channel, 1);
      }
    }
    return absl::OkStatus();
  }

  // `channels` of them, adjacent in memory.
  void Pool(const float* src, float* dst, int64_t channels) const {
    for (int64_t y = 0; y < output.layout.height; ++y) {
      float* const line = dst + y * out.row;
      if (maximum) {
        PoolLine(src, y, channels, line, -std::numeric_limits<float>::infinity(),
                 [](float best, float value) { return value > best ? value : best; });
        continue;
      }
      PoolLine(src, y, channels, line, 0.0F, [](float sum, float value) { return sum + value; });
      for (int64_t x = 0; x < output.layout.width; ++x) {
        const int64_t taps =
            row_counts[static_cast<size_t>(y)] * col_counts[static_cast<size_t>(x)];
        float* const pixel = line + x * out.pixel;
        for (int64_t c = 0; c < channels; ++c) {
          pixel[c] = taps > 0 ? pixel[c] / static_cast<float>(taps) : 0.0F;
        }
      }
    }
  }

  template <typename Combine>
  void PoolLine(const float* src, int64_t y, int64_t channels, float* line, float start,
                Combine combine) const {
    for (int64_t x = 0; x < output.layout.width; ++x) {
      std::fill_n(line + x * out.pixel, channels, start);
    }
    for (const TapRange& row : rows) {
      if (y < row.first || y >= row.last) continue;
      const float* const from = src + (y * stride_h + row.input) * in.row;
      for (const TapRange& col : cols) {
        const float* tap = from + (col.first * stride_w + col.input) * in.pixel;
        float* to = line + col.first * out.pixel;
        const int64_t count = col.last - col.first;
        if (channels == 1) {
          for (int64_t x = 0; x < count; ++x) {
            to[x * out.pixel] = combine(to[x * out.pixel], tap[x * stride_w * in.pixel]);
          }
          continue;
        }
        for (int64_t x = 0; x < count; ++x, tap += stride_w * in.pixel, to += out.pixel) {
          for (int64_t c = 0; c < channels; ++c) to[c] = combine(to[c], tap[c]);
        }
      }
    }
  }

  Operand input, output;
  MapStrides in, out;
  bool maximum = false;
  int64_t stride_h = 1, stride_w = 1;
  std::vector<TapRange> rows, cols;             // a tap
  std::vector<int64_t> row_counts, col_counts;  // averages
};

}  // namespace

absl::StatusOr<StepPtr> MakeFloatPoolStep(const FloatPool& pool, const Operand& input,
                                          const Operand& output) {
  const SlidingWindow& window = pool.window;
  if (input.layout.channels != output.layout.channels || input.layout.height != window.input[0] ||
      input.layout.width != window.input[1] || output.layout.height != window.output[0] ||
      output.layout.width != window.output[1]) {
    return absl::InternalError("a pooling window that does not fit its input and output");
  }
  auto step = std::make_unique<FloatPoolStep>();
  step->input = input;
  step->output = output;
  step->in = StridesOf(input.layout);
  step->out = StridesOf(output.layout);
  step->maximum = pool.maximum;
  step->stride_h = window.stride[0];
  step->stride_w = window.stride[1];
  step->rows = RangesOf(window, 0);
  step->cols = RangesOf(window, 1);
  if (!pool.maximum) {
    step->row_counts = CountsOf(window, 0, pool.with_padding);
    step->col_counts = CountsOf(window, 1, pool.with_padding);
  }
  step->mutable_info().kernel = pool.maximum ? "max pool" : "average pool";
  return step;
}

}  // namespace bitmill
