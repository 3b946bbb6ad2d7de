// Maximum and average over windows of float maps, in whatever order they are stored; element for
// element what model/ops gives, taps in the same order.
//
// The kernel pools runs of pixels whose windows have the same taps inside the image: with channels
// innermost all of a line but its ends.
#include <algorithm>
#include <utility>
#include <vector>

#include "backends/cpu/line_step.h"
#include "backends/cpu/steps.h"

namespace bitmill {
namespace {

// How many taps of each output position count: those inside the image, or, with padding, those
// inside the padded image (a window that ceil_mode adds may stick out of it).
std::vector<int64_t> CountsOf(const SlidingWindow& window, size_t axis, bool with_padding) {
  const int64_t pad = window.pad_begin[axis];
  const int64_t first = with_padding ? -pad : 0;
  const int64_t last = window.input[axis] + (with_padding ? window.pad_end[axis] : 0);
  std::vector<int64_t> counts;
  for (int64_t o = 0; o < window.output[axis]; ++o) {
    const int64_t origin = o * window.stride[axis] - pad;
    const int64_t count =
        TapsWithin(origin, window.kernel[axis], window.dilation[axis], first, last).count();
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

// Neighbouring output pixels of a line whose windows have the same taps and divisor.
struct PixelRun {
  int64_t first = 0, count = 0;
  float divisor = 1.0F;
  size_t taps = 0;  // index into the lists of taps
};

class FloatPoolStep final : public LineStep {
 public:
  LineAccess access() const override {
    if (input.layout.storage != Storage::kPixelFloat ||
        output.layout.storage != Storage::kPixelFloat) {
      return {};
    }
    return {
        output.layout.height,
        output.layout.row_bytes,
        input.buffer,
        output.buffer,
        1,
        {window.stride[0], window.pad_begin[0], window.dilation[0] * (window.kernel[0] - 1) + 1}};
  }

  int64_t parts() const override { return output.layout.height; }

  absl::Status RunLines(const StepRun& run, int64_t r, int64_t first,
                        int64_t count) const override {
    const auto* const src = reinterpret_cast<const float*>(input.Row(run, r));
    auto* const dst = reinterpret_cast<float*>(output.Base(run) + r * output.layout.image_bytes);
    if (in.channel == 1 && out.channel == 1) {
      Pool(src, dst, output.layout.channels, first, count);
      return absl::OkStatus();
    }
    for (int64_t c = 0; c < output.layout.channels; ++c) {
      Pool(src + c * in.channel, dst + c * out.channel, 1, first, count);
    }
    return absl::OkStatus();
  }

  // `count` lines of `channels` channels that are adjacent in memory.
  void Pool(const float* src, float* dst, int64_t channels, int64_t first, int64_t count) const {
    FmapPoolArgs args{};
    args.maximum = maximum;
    args.channels = channels;
    args.src_pixel = window.stride[1] * in.pixel;
    args.dst_pixel = out.pixel;
    for (int64_t y = first; y < first + count; ++y) {
      const int64_t line = (y * window.stride[0] - window.pad_begin[0]) * in.row;
      for (const PixelRun& pixels : lines[static_cast<size_t>(y)]) {
        const std::vector<int64_t>& offsets = taps[pixels.taps];
        args.divisor = pixels.divisor;
        args.src = src + line + (pixels.first * window.stride[1] - window.pad_begin[1]) * in.pixel;
        args.dst = dst + y * out.row + pixels.first * out.pixel;
        args.pixels = pixels.count;
        args.taps = offsets.data();
        args.tap_count = static_cast<int64_t>(offsets.size());
        kernel->pool(args);
      }
    }
  }

  // Lists of taps are shared by all windows that have the same ones.
  void FillLines(bool with_padding) {
    std::vector<std::pair<TapRange, TapRange>> known;
    const std::vector<int64_t> row_counts = CountsOf(window, 0, with_padding);
    const std::vector<int64_t> col_counts = CountsOf(window, 1, with_padding);
    for (int64_t y = 0; y < window.output[0]; ++y) {
      std::vector<PixelRun>& line = lines.emplace_back();
      const TapRange rows = TapsInside(window, 0, y);
      for (int64_t x = 0; x < window.output[1]; ++x) {
        const std::pair<TapRange, TapRange> range = {rows, TapsInside(window, 1, x)};
        const auto at = std::find(known.begin(), known.end(), range);
        const auto index = static_cast<size_t>(at - known.begin());
        if (at == known.end()) {
          known.push_back(range);
          taps.push_back(Offsets(range.first, range.second));
        }
        const auto divisor = static_cast<float>(row_counts[static_cast<size_t>(y)] *
                                                col_counts[static_cast<size_t>(x)]);
        if (!line.empty() && line.back().taps == index && line.back().divisor == divisor) {
          ++line.back().count;
        } else {
          line.push_back({x, 1, divisor, index});
        }
      }
    }
  }

  std::vector<int64_t> Offsets(const TapRange& rows, const TapRange& cols) const {
    std::vector<int64_t> offsets;
    for (int64_t y = rows.first; y < rows.last; ++y) {
      for (int64_t x = cols.first; x < cols.last; ++x) {
        offsets.push_back(y * window.dilation[0] * in.row + x * window.dilation[1] * in.pixel);
      }
    }
    return offsets;
  }

  Operand input, output;
  MapStrides in, out;
  SlidingWindow window;
  bool maximum = false;
  const FmapKernel* kernel = nullptr;
  std::vector<std::vector<PixelRun>> lines;  // of each output line
  std::vector<std::vector<int64_t>> taps;    // elements from a window's start
};

}  // namespace

absl::StatusOr<StepPtr> MakeFloatPoolStep(const FloatPool& pool, const Operand& input,
                                          const Operand& output, StepBuilder& builder) {
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
  step->window = window;
  step->maximum = pool.maximum;
  step->kernel = builder.kernels().fmap;
  step->FillLines(pool.with_padding);
  step->mutable_info().kernel = pool.maximum ? "max pool" : "average pool";
  return step;
}

}  // namespace bitmill
