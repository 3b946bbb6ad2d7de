// Depthwise convolution of bits with 1-bit or ternary weights (kernels/bdepth/bdepth.h).
//
// As in bconv_step.cc bits and float maps come from the kernel itself and everything else passes
// through blocks of scratch and the epilogue; thresholds become limits on the count of differing
// bits, and with zero padding base and limits depend on which taps fall outside the image.
#include "backends/cpu/bdepth_step.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/bconv_tables.h"
#include "backends/cpu/conv_blocks.h"
#include "backends/cpu/conv_epilogue.h"
#include "backends/cpu/line_step.h"
#include "base/status_macros.h"
#include "kernels/bdepth/bdepth_table.h"

namespace bitmill {
namespace {

using Epilogue = LowBitConvOp::Epilogue;

constexpr int64_t kMaxTableBytes = int64_t{1} << 30;

class BdepthStep final : public LineStep {
 public:
  LineAccess access() const override {
    if (epilogue_in_scratch || blocks.single_pixel ||
        output.layout.storage != Storage::kPixelFloat) {
      return {};
    }
    return {output.layout.height, output.layout.row_bytes, input.buffer, output.buffer};
  }

  int32_t block_shift() const override { return shift; }

  // Lines, straight into the output buffer.
  absl::Status RunLines(const StepRun& run, int64_t r, int64_t first,
                        int64_t count) const override {
    const BufferLayout& out = output.layout;
    BdepthArgs call = CallFor(run, r, first, count);
    std::byte* const dst =
        output.Base(run) + out.interior_bytes + r * out.image_bytes + first * out.row_bytes;
    if (out.storage == Storage::kBits) {
      call.out_bits = reinterpret_cast<uint64_t*>(dst);
      call.out_row = out.row_bytes / int64_t{sizeof(uint64_t)};
      kernel->run(call);
      return absl::OkStatus();
    }
    auto* const lines = reinterpret_cast<float*>(dst);
    call.out_float = lines;
    call.out_row = out.width * out.channels;
    kernel->run(call);
    if (!chain.empty()) chain.RunInterleaved(lines, count * out.width, out.channels);
    return absl::OkStatus();
  }

  int64_t parts() const override { return blocks.single_pixel ? 0 : output.layout.height; }

  void Prepare(const StepRun& run) const override {
    if (output.layout.storage == Storage::kBits || output.layout.storage == Storage::kCodes) {
      const bool whole_pixels = !epilogue_in_scratch;
      PrepareBuffer(output.layout, output.Base(run), run.rows, whole_pixels);
    }
  }

  absl::Status RunParts(const StepRun& run, int64_t first, int64_t count) const override {
    if (!epilogue_in_scratch) return LineStep::RunParts(run, first, count);
    std::byte* const work = run.buffers[scratch];
    RunConvBlocks(blocks, epilogue, output, run, {first, count}, work,
                  [&](const ConvBlock& block) { ComputeBlock(run, block, work); });
    return absl::OkStatus();
  }

  absl::Status Run(const StepRun& run) const override {
    Prepare(run);
    return RunParts(run, 0, output.layout.height);
  }

  void ComputeBlock(const StepRun& run, const ConvBlock& block, std::byte* work) const {
    const int64_t lines = blocks.single_pixel ? 1 : block.count;
    BdepthArgs call = CallFor(run, block.row, block.line, lines);
    if (blocks.single_pixel) call.batch = static_cast<int32_t>(block.count);
    call.out_row = output.layout.width * output.layout.channels;
    call.out_image = lines * call.out_row;
    call.out_int32 = epilogue.wants_float() ? nullptr : reinterpret_cast<int32_t*>(work);
    call.out_float = epilogue.wants_float() ? reinterpret_cast<float*>(work) : nullptr;
    kernel->run(call);
  }

  // Output lines of row r of the chunk.
  BdepthArgs CallFor(const StepRun& run, int64_t r, int64_t first, int64_t count) const {
    BdepthArgs call = args;
    call.input = reinterpret_cast<const uint64_t*>(input.Base(run) + window_start +
                                                   r * input.layout.image_bytes +
                                                   first * args.stride_h * input.layout.row_bytes);
    call.out_h = static_cast<int32_t>(count);
    if (call.row_class != nullptr) call.row_class += first;
    return call;
  }

  int64_t table_bytes() const {
    return static_cast<int64_t>(limits.size() * sizeof(uint64_t) +
                                (scale.size() + bias.size()) * sizeof(float) +
                                tap_words.size() * sizeof(int32_t)) +
           epilogue.table_bytes() + chain.table_bytes();
  }

  Operand input, output;
  const BdepthKernel* kernel = nullptr;
  BdepthArgs args{};         // everything that no call changes
  int64_t window_start = 0;  // bytes from an image's start to the window of pixel (0, 0)

  PackedBytes filter;  // weights, then base
  std::vector<int32_t> tap_words;
  std::vector<int32_t> row_class, col_class;
  std::vector<uint64_t> limits;
  std::vector<float> scale, bias;

  bool epilogue_in_scratch = false;
  int32_t shift = 0;  // LayerChoice::block_shift
  ConvBlocks blocks;
  ConvEpilogue epilogue;
  CompiledChain chain;  // float output without scratch
  int32_t scratch = -1;
};

void FillGeometry(const ConvWindow& window, const BufferLayout& in, BdepthStep& step) {
  BdepthArgs& args = step.args;
  args.row_words = in.row_bytes / 8;
  args.image_words = in.image_bytes / 8;
  args.channels = static_cast<int32_t>(window.in_channels);
  args.c_words = static_cast<int32_t>(in.pixel_bytes / 8);
  args.batch = 1;
  args.out_h = static_cast<int32_t>(window.out_h);
  args.out_w = static_cast<int32_t>(window.out_w);
  args.stride_h = static_cast<int32_t>(window.stride_h);
  args.stride_w = static_cast<int32_t>(window.stride_w);
  for (int64_t y = 0; y < window.kernel_h; ++y) {
    for (int64_t x = 0; x < window.kernel_w; ++x) {
      step.tap_words.push_back(static_cast<int32_t>(y * window.dilation_h * args.row_words +
                                                    x * window.dilation_w * args.c_words));
    }
  }
  args.taps = static_cast<int32_t>(window.taps());
  args.tap_words = step.tap_words.data();
  const Border border = window.NeededBorder();
  step.window_start = in.interior_bytes - border.top * in.row_bytes - border.left * in.pixel_bytes;
}

// Weights and base, all that is made from the operation's weights. `padding`: or null.
absl::Status MakeFilter(const LowBitConvOp& op, const ConvWindow& window,
                        const PaddingClasses* padding, StepBuilder& builder, BdepthStep& step) {
  BdepthArgs& args = step.args;
  // One call whose outputs have one channel each.
  const GroupSplit split = {1, 1, window.out_channels, 1};
  const int64_t classes = padding == nullptr ? 1 : padding->count();
  const int64_t weight_bytes =
      int64_t{args.taps} * args.planes * (args.c_words + kBdepthRepeatWords) * 8;
  const int64_t base_bytes = classes * ((window.out_channels + 7) / 8 * 8) * 4;
  if (weight_bytes > kMaxTableBytes || base_bytes > kMaxTableBytes) {
    return absl::ResourceExhaustedError("packed weights would take more than 1 GiB");
  }
  const auto fill = [&](std::byte* to) -> absl::Status {
    absl::StatusOr<std::vector<int8_t>> weights = CallWeights(op, window, split, 0);
    if (!weights.ok()) return weights.status();
    for (const int8_t w : *weights) {
      if (w < -1 || w > 1 || (w == 0 && args.planes == 1)) {
        return absl::InternalError("weights of a 1-bit or ternary convolution are not -1, 0 or 1");
      }
    }
    const uint8_t* const negate = op.flip.empty() ? nullptr : op.flip.data();
    PackBdepthWeights(weights->data(), args.channels, args.taps, args.planes, negate,
                      reinterpret_cast<uint64_t*>(to));
    std::memset(to + weight_bytes, 0, static_cast<size_t>(base_bytes));
    FillBconvBase(*weights, negate, split, window, padding,
                  reinterpret_cast<int32_t*>(to + weight_bytes));
    return absl::OkStatus();
  };
  absl::StatusOr<PackedBytes> filter =
      builder.FromWeights("bdepth", weight_bytes + base_bytes, fill);
  if (!filter.ok()) return filter.status();
  step.filter = *std::move(filter);
  args.weights = step.filter.as<uint64_t>();
  args.base = reinterpret_cast<const int32_t*>(step.filter.data() + weight_bytes);
  return absl::OkStatus();
}

// Limits of each position of a line, for each class of rows.
absl::Status FillLimits(const LowBitConvOp& op, const PaddingClasses* padding, BdepthStep& step) {
  BdepthArgs& args = step.args;
  const int64_t rows = padding == nullptr ? 1 : static_cast<int64_t>(padding->rows.size());
  const int64_t cols = padding == nullptr ? 1 : static_cast<int64_t>(padding->cols.size());
  const int64_t padded = (int64_t{args.channels} + 7) / 8 * 8;
  const int64_t plane_words = int64_t{args.out_w} * args.c_words;
  const int64_t row_words = BdepthCountPlanes(args.taps) * plane_words;
  if (rows * row_words * 8 > kMaxTableBytes) {
    return absl::ResourceExhaustedError("limits would take more than 1 GiB");
  }
  step.limits.assign(static_cast<size_t>(rows * row_words), 0);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t x = 0; x < args.out_w; ++x) {
      const int64_t col = padding == nullptr ? 0 : padding->col_class[static_cast<size_t>(x)];
      uint64_t* const pixel = step.limits.data() + row * row_words + x * args.c_words;
      for (int32_t c = 0; c < args.channels; ++c) {
        const int32_t base = args.base[(row * cols + col) * padded + c];
        const int32_t limit = BconvLimit(base, op.thresholds[static_cast<size_t>(c)]);
        SetBdepthLimit(limit, args.taps, plane_words, c, pixel + c / 64);
      }
    }
  }
  args.limits = step.limits.data();
  return absl::OkStatus();
}

// What follows the counts.
absl::Status MakeEpilogue(const LowBitConvOp& op, const CodeInfo& output_code,
                          const PaddingClasses* padding, StepBuilder& builder, BdepthStep& step) {
  const BufferLayout& out = step.output.layout;
  if (op.epilogue != Epilogue::kThresholds) {
    step.scale = op.scale;
    step.bias = op.bias;
    step.args.scale = step.scale.data();
    step.args.bias = step.bias.data();
  }
  if (op.epilogue == Epilogue::kThresholds && out.storage == Storage::kBits) {
    return FillLimits(op, padding, step);
  }
  if (op.epilogue == Epilogue::kFloat &&
      (out.storage == Storage::kPixelFloat || step.blocks.single_pixel)) {
    BITMILL_ASSIGN_OR_RETURN(step.chain,
                             CompiledChain::Make(op.chain, out.channels, *builder.kernels().fmap));
    return absl::OkStatus();
  }
  step.epilogue_in_scratch = true;
  BITMILL_ASSIGN_OR_RETURN(step.epilogue,
                           ConvEpilogue::Make(op, output_code, out, builder.kernels(), {}));
  step.scratch = builder.AddScratch(step.blocks.scratch_bytes);
  return absl::OkStatus();
}

}  // namespace

bool IsDepthwise(const ConvWindow& window) {
  return window.groups > 1 && window.groups == window.in_channels &&
         window.groups == window.out_channels && window.taps() <= kBdepthMaxTaps;
}

absl::StatusOr<StepPtr> MakeBdepthStep(const LowBitConvOp& op, const ConvWindow& window,
                                       const CodeInfo& output_code, const Operand& input,
                                       const Operand& output, StepBuilder& builder) {
  auto step = std::make_unique<BdepthStep>();
  step->input = input;
  step->output = output;
  step->kernel = &SelectBdepth(builder.kernels().isa);
  step->shift = builder.choice().block_shift;
  step->blocks = ConvBlocks::For(window, false, step->shift);
  step->args.planes = op.weight_bits == 1 ? 1 : 2;
  FillGeometry(window, input.layout, *step);
  PaddingClasses classes;
  const PaddingClasses* padding = nullptr;
  if (op.padding == Padding::kZero && !window.NeededBorder().empty()) {
    classes = ClassifyPadding(window);
    padding = &classes;
    step->row_class = classes.row_class;
    step->col_class = classes.col_class;
    step->args.row_class = step->row_class.data();
    step->args.col_class = step->col_class.data();
    step->args.col_classes = static_cast<int32_t>(classes.cols.size());
  }
  BITMILL_RETURN_IF_ERROR(MakeFilter(op, window, padding, builder, *step));
  BITMILL_RETURN_IF_ERROR(MakeEpilogue(op, output_code, padding, builder, *step));
  StepInfo& info = step->mutable_info();
  info.kernel = std::string(step->kernel->name) + (step->args.planes == 2 ? " ternary" : "");
  info.macs = window.macs();
  info.blocked = step->epilogue_in_scratch;
  if (info.blocked) {
    info.value_bytes = output.layout.channels * output.layout.pixels() * kSumBytes;
  }
  info.weight_bytes = step->filter.size() + step->table_bytes();
  return step;
}

}  // namespace bitmill
