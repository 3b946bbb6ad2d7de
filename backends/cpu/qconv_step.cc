// Convolution of 8-bit codes with 1, 2, 4 or 8-bit weights (kernels/qconv/qconv.h), and of bits
// with weights that are neither 1-bit nor ternary: those bits are first unpacked to codes 0 and 2
// around a zero point of 1.
//
// The zero point goes into `base` and the border is filled with the padding's code, so that no tap
// is special. Images of 1 to 3 channels lie tight: a line of the kernel is one run of bytes, filled
// up with zero weights, instead of mostly empty steps for each tap; where it gains, images are
// copied to have the ends of these lines side by side (line_ends.h). A dense layer presents the
// rows of the chunk as the pixels of one line.
#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/cpu/conv_blocks.h"
#include "backends/cpu/conv_epilogue.h"
#include "backends/cpu/conv_window.h"
#include "backends/cpu/line_ends.h"
#include "backends/cpu/line_step.h"
#include "backends/cpu/qconv_filter.h"
#include "backends/cpu/steps.h"
#include "base/aligned_buffer.h"
#include "kernels/qconv/qconv_lookup.h"

namespace bitmill {
namespace {

using Epilogue = LowBitConvOp::Epilogue;

constexpr CodeInfo kUnpackedBits{CodeKind::kUInt8, 1.0F, 1, 3};

// Byte i of entry b is the code of bit i of b: 0 (-1) where it is set, 2 (+1) where it is not.
std::array<uint64_t, 256> MakeUnpackTable() {
  std::array<uint64_t, 256> table{};
  for (size_t byte = 0; byte < 256; ++byte) {
    for (size_t bit = 0; bit < 8; ++bit) {
      if ((byte >> bit & 1U) == 0) table[byte] |= uint64_t{2} << (8 * bit);
    }
  }
  return table;
}

class QconvStep final : public LineStep {
 public:
  LineAccess access() const override {
    if (epilogue_in_scratch || blocks.single_pixel ||
        output.layout.storage != Storage::kPixelFloat) {
      return {};
    }
    return {output.layout.height, output.layout.row_bytes, pointwise ? -1 : input.buffer,
            output.buffer};
  }

  int32_t block_shift() const override { return shift; }
  int64_t parts() const override { return blocks.single_pixel ? 0 : output.layout.height; }

  void Prepare(const StepRun& run) const override {
    if (unpacks) UnpackBits(run);
    if (ends.end_steps > 0) CopyImages(run);
    if (output.layout.storage == Storage::kBits || output.layout.storage == Storage::kCodes) {
      PrepareBuffer(output.layout, output.Base(run), run.rows);
    }
  }

  absl::Status RunParts(const StepRun& run, int64_t first, int64_t count) const override {
    if (epilogue_in_scratch) {
      RunBlocks(run, first, count);
      return absl::OkStatus();
    }
    return LineStep::RunParts(run, first, count);
  }

  absl::Status Run(const StepRun& run) const override {
    Prepare(run);
    if (epilogue_in_scratch) {
      RunBlocks(run, 0, output.layout.height);
      return absl::OkStatus();
    }
    ComputeChunk(run);
    if (!chain.empty()) {
      for (int64_t r = 0; r < run.rows; ++r) {
        auto* const row =
            reinterpret_cast<float*>(output.Base(run) + r * output.layout.image_bytes);
        chain.RunInterleaved(row, output.layout.pixels(), output.layout.channels);
      }
    }
    return absl::OkStatus();
  }

  // Lines of all rows through the epilogue.
  void RunBlocks(const StepRun& run, int64_t first, int64_t count) const {
    std::byte* const work = run.buffers[scratch];
    RunConvBlocks(blocks, epilogue, output, run, {first, count}, work,
                  [&](const ConvBlock& block) { ComputeBlock(run, block, work); });
  }

  void UnpackBits(const StepRun& run) const {
    std::byte* const unpacked = run.buffers[codes.buffer];
    PrepareBuffer(codes.layout, unpacked, run.rows);
    for (int64_t r = 0; r < run.rows; ++r) {
      const std::byte* src = input.Row(run, r) + input.layout.interior_bytes;
      std::byte* dst = unpacked + r * codes.layout.image_bytes + codes.layout.interior_bytes;
      for (int64_t y = 0; y < input.layout.height; ++y) {
        for (int64_t x = 0; x < input.layout.width; ++x) {
          UnpackPixel(src + x * input.layout.pixel_bytes, dst + x * codes.layout.pixel_bytes);
        }
        src += input.layout.row_bytes;
        dst += codes.layout.row_bytes;
      }
    }
  }

  void CopyImages(const StepRun& run) const {
    for (int64_t r = 0; r < run.rows; ++r) {
      std::memcpy(codes.Base(run) + r * codes.layout.image_bytes, input.Row(run, r),
                  static_cast<size_t>(input.layout.image_bytes));
    }
  }

  // What the windows of some lines of the output have beside the image.
  void FillEnds(const StepRun& run, int64_t r, int64_t first, int64_t count) const {
    if (ends.end_steps == 0) return;
    FillLineEnds(ends, window, codes.layout, first, count,
                 codes.Base(run) + window_start + r * codes.layout.image_bytes);
  }

  void UnpackPixel(const std::byte* src, std::byte* dst) const {
    const int64_t channels = input.layout.channels;
    for (int64_t c = 0; c < channels; c += 8) {
      const uint64_t eight = unpack_table[static_cast<size_t>(src[c / 8])];
      std::memcpy(dst + c, &eight, static_cast<size_t>(std::min<int64_t>(8, channels - c)));
    }
  }

  // All rows of the chunk, straight into a float output.
  void ComputeChunk(const StepRun& run) const {
    for (int64_t r = 0; r < run.rows; ++r) FillEnds(run, r, 0, window.out_h);
    QconvArgs call = args;
    call.input = reinterpret_cast<const uint8_t*>(codes.Base(run) + window_start);
    if (blocks.single_pixel) {
      call.out_w = static_cast<int32_t>(run.rows);
    } else {
      call.batch = static_cast<int32_t>(run.rows);
    }
    RunGroups(run, call, reinterpret_cast<float*>(output.Base(run)));
  }

  // Straight into a float output.
  absl::Status RunLines(const StepRun& run, int64_t r, int64_t first,
                        int64_t count) const override {
    FillEnds(run, r, first, count);
    QconvArgs call = args;
    call.input = reinterpret_cast<const uint8_t*>(codes.Base(run) + window_start +
                                                  r * codes.layout.image_bytes +
                                                  first * args.stride_h * codes.layout.row_bytes);
    call.out_h = static_cast<int32_t>(count);
    auto* const lines = reinterpret_cast<float*>(output.Base(run) + r * output.layout.image_bytes +
                                                 first * output.layout.row_bytes);
    RunGroups(run, call, lines);
    if (!chain.empty()) {
      chain.RunInterleaved(lines, count * output.layout.width, output.layout.channels);
    }
    return absl::OkStatus();
  }

  void RunGroups(const StepRun& run, QconvArgs call, float* dst) const {
    const BufferLayout& out = output.layout;
    constexpr int64_t kElement = sizeof(float);
    call.out_image = out.image_bytes / kElement;
    call.out_row = out.row_bytes / kElement;
    call.out_pixel = (blocks.single_pixel ? out.image_bytes : out.pixel_bytes) / kElement;
    for (int64_t g = 0; g < split.calls; ++g) {
      SelectGroup(run, g, call);
      call.out_float = dst + g * split.outputs;
      kernel->run(call);
      call.input += split.channels;
    }
  }

  void ComputeBlock(const StepRun& run, const ConvBlock& block, std::byte* work) const {
    FillEnds(run, block.row, block.line, block.count);
    QconvArgs call = args;
    const int64_t start = window_start + block.row * codes.layout.image_bytes +
                          block.line * args.stride_h * codes.layout.row_bytes;
    call.input = reinterpret_cast<const uint8_t*>(codes.Base(run) + start);
    const int64_t channels = output.layout.channels;
    call.out_pixel = channels;
    if (blocks.single_pixel) {
      call.out_w = static_cast<int32_t>(block.count);
    } else {
      call.out_h = static_cast<int32_t>(block.count);
    }
    call.out_row = call.out_w * channels;
    call.out_image = call.out_h * call.out_row;
    for (int64_t g = 0; g < split.calls; ++g) {
      SelectGroup(run, g, call);
      const int64_t first = g * split.outputs;
      call.out_int32 = epilogue.wants_float() ? nullptr : reinterpret_cast<int32_t*>(work) + first;
      call.out_float = epilogue.wants_float() ? reinterpret_cast<float*>(work) + first : nullptr;
      kernel->run(call);
      call.input += split.channels;
    }
  }

  void SelectGroup(const StepRun& run, int64_t g, QconvArgs& call) const {
    const int64_t padded = (split.outputs + 7) / 8 * 8;
    call = filter.Applied(call, g);
    call.prepared = prepared_bytes > 0 ? prepared.data() + g * prepared_bytes : nullptr;
    call.scratch = kernel_scratch >= 0 ? run.buffers[kernel_scratch] : nullptr;
    call.base = filter.base.data() + g * padded;
    call.scale = filter.scale.empty() ? nullptr : filter.scale.data() + g * padded;
    call.bias = filter.bias.empty() ? nullptr : filter.bias.data() + g * padded;
  }

  Operand input, output;
  Operand codes;  // what the kernel reads: the input, the unpacked bits, or images with `ends`
  bool unpacks = false;
  LineEnds ends;
  ConvWindow window;
  bool pointwise = false;  // a pixel depends on the same pixel alone
  std::array<uint64_t, 256> unpack_table{};
  const QconvKernel* kernel = nullptr;
  GroupSplit split;
  QconvArgs args{};
  int64_t window_start = 0;

  QconvFilter filter;
  PackedBytes prepared;        // [calls][prepared_bytes], as the kernel likes them
  int64_t prepared_bytes = 0;  // of a call

  bool epilogue_in_scratch = false;
  ConvBlocks blocks;
  ConvEpilogue epilogue;
  CompiledChain chain;
  int32_t shift = 0;  // LayerChoice::block_shift
  int32_t scratch = -1;
  int32_t kernel_scratch = -1;
};

// Other ways to compute `call`: multiplied bytes instead of tables, and the kernel's rival, which
// it leaves calls to for which it has no working memory.
void OfferForms(const QconvArgs& call, StepBuilder& builder, const QconvStep& step) {
  const QconvKernel& kernel = *step.kernel;
  if (step.prepared_bytes > 0 && kernel.scratch_bytes == nullptr) {
    builder.OfferForm({.kernel = kernel.name, .prepared = false});
  }
  const bool rival_differs = kernel.scratch_bytes == nullptr || step.kernel_scratch >= 0;
  if (kernel.rival == nullptr || !rival_differs) return;
  builder.OfferForm({.kernel = kernel.rival});
  const QconvKernel* const rival =
      FindKernel(QconvKernels, kernel.rival, builder.kernels().isa, &kernel);
  if (rival != nullptr && PreparedQconvBytes(*rival, call) > 0) {
    builder.OfferForm({.kernel = kernel.rival, .prepared = false});
  }
}

// What the kernel keeps of the weights, and writes during its calls. `rows`: of the largest chunk.
absl::Status PrepareKernel(int64_t rows, StepBuilder& builder, QconvStep& step) {
  QconvArgs call = step.args;
  if (step.blocks.single_pixel) {
    call.out_w = static_cast<int32_t>(rows);
  } else {
    call.batch = static_cast<int32_t>(rows);
  }
  call = step.filter.Applied(call, 0);
  if (const int64_t bytes = QconvScratchBytes(*step.kernel, call); bytes > 0) {
    step.kernel_scratch = builder.AddScratch(bytes);
  }
  const int64_t line = int64_t{kCacheLineBytes};
  if (builder.choice().prepared) {
    step.prepared_bytes = (PreparedQconvBytes(*step.kernel, call) + line - 1) / line * line;
  }
  OfferForms(call, builder, step);
  if (step.prepared_bytes == 0) return absl::OkStatus();
  absl::StatusOr<PackedBytes> prepared =
      builder.FromOthers(absl::StrCat(step.kernel->name, " for ", rows, " rows"),
                         step.split.calls * step.prepared_bytes, [&](std::byte* to) {
                           for (int64_t g = 0; g < step.split.calls; ++g) {
                             call = step.filter.Applied(call, g);
                             PrepareQconv(*step.kernel, call, to + g * step.prepared_bytes);
                           }
                           return absl::OkStatus();
                         });
  if (!prepared.ok()) return prepared.status();
  step.prepared = *std::move(prepared);
  return absl::OkStatus();
}

const char* KindName(QconvWeights kind) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return " w1";
    case QconvWeights::k2Bit:
      return " w2";
    case QconvWeights::k4Bit:
      return " w4";
    case QconvWeights::k8Bit:
      return " w8";
  }
  return "";
}

}  // namespace

absl::StatusOr<StepPtr> MakeQconvStep(const LowBitConvOp& op, const CodeInfo& input_code,
                                      const CodeInfo& output_code, const Operand& input,
                                      const Operand& output, StepBuilder& builder) {
  absl::StatusOr<ConvWindow> made = MakeConvWindow(op, input.layout, output.layout);
  if (!made.ok()) return made.status();
  const ConvWindow& window = *made;
  if (absl::Status status = CheckEpilogue(op, output_code, output.layout); !status.ok()) {
    return status;
  }
  auto step = std::make_unique<QconvStep>();
  step->input = input;
  step->output = output;
  step->codes = input;
  step->unpacks = input.layout.storage == Storage::kBits;
  const LayerChoice& choice = builder.choice();
  step->kernel =
      FindKernel(QconvKernels, choice.kernel, builder.kernels().isa, builder.kernels().qconv);
  if (step->kernel == nullptr) return absl::InternalError("no such kernel: " + choice.kernel);
  step->split = SplitGroups(window, 4);
  step->shift = choice.block_shift;
  step->blocks =
      ConvBlocks::For(window, step->kernel->scratch_bytes != nullptr, choice.block_shift);
  const CodeInfo& code = step->unpacks ? kUnpackedBits : input_code;
  absl::StatusOr<int32_t> fill = PaddingCode(op.padding, code);
  const Border needed = window.NeededBorder();
  if (!fill.ok() && !needed.empty()) return fill.status();

  if (step->unpacks) {
    Border border = needed;
    border.fill = fill.value_or(0);
    const int64_t shape[] = {1, window.in_channels, window.in_h, window.in_w};
    absl::StatusOr<BufferLayout> layout = MakeLayout(Storage::kCodes, DType::kUInt8, shape, border);
    if (!layout.ok()) return layout.status();
    step->codes = Operand{builder.AddBuffer(layout->image_bytes, 0), -1, *layout};
    step->unpack_table = MakeUnpackTable();
  }

  step->pointwise = !step->unpacks && window.pointwise();
  step->window = window;
  if (input.layout.tight && !window.single_pixel()) {
    step->ends = LineEndsOf(window, step->kernel->step_unit);
  }
  if (step->ends.end_steps > 0) {
    absl::StatusOr<BufferLayout> layout = WithEndsPlane(input.layout);
    if (!layout.ok()) return layout.status();
    step->codes = Operand{builder.AddBuffer(layout->image_bytes, 0), -1, *layout};
  }

  const BufferLayout& in = step->codes.layout;
  const BufferLayout& out = output.layout;
  const bool direct_float = op.epilogue == Epilogue::kFloat &&
                            (out.storage == Storage::kPixelFloat || window.single_pixel());
  step->epilogue_in_scratch = !direct_float;

  QconvArgs& args = step->args;
  args.image_bytes = in.image_bytes;
  args.row_bytes = in.row_bytes;
  args.pixel_bytes = static_cast<int32_t>(in.pixel_bytes);
  args.batch = 1;
  args.out_h = static_cast<int32_t>(window.out_h);
  args.out_w = static_cast<int32_t>(window.out_w);
  args.out_channels = static_cast<int32_t>(step->split.outputs);
  args.stride_h = static_cast<int32_t>(window.stride_h);
  args.stride_w = static_cast<int32_t>(window.stride_w);
  args.levels = std::max(code.levels, needed.empty() ? 0 : *fill + 1);
  if (step->blocks.single_pixel) {
    args.pixel_bytes = static_cast<int32_t>(args.image_bytes);
    args.stride_w = 1;
  }
  // Of a call: some lines, an image, or as few rows as a batch has.
  const int64_t lines = step->epilogue_in_scratch ? step->blocks.count : window.out_h;
  const bool few_pixels = step->blocks.single_pixel || lines * window.out_w <= kFewPixels;
  absl::StatusOr<QconvFilter> filter =
      PackQconvFilter(op, window, step->split, in, step->ends, code.zero_point, args.levels,
                      {step->kernel->sparse, few_pixels}, builder);
  if (!filter.ok()) return filter.status();
  step->filter = *std::move(filter);
  args.kind = step->filter.kind;
  args.ternary = step->filter.ternary;
  args.steps = static_cast<int32_t>(step->filter.step_bytes.size());
  args.step_bytes = step->filter.step_bytes.data();
  step->window_start = in.interior_bytes - needed.top * in.row_bytes - needed.left * in.pixel_bytes;

  if (absl::Status status = PrepareKernel(builder.chunk_rows(), builder, *step); !status.ok()) {
    return status;
  }
  if (step->epilogue_in_scratch) {
    absl::StatusOr<ConvEpilogue> epilogue =
        ConvEpilogue::Make(op, output_code, out, builder.kernels(), step->filter.late_flip);
    if (!epilogue.ok()) return epilogue.status();
    step->epilogue = *std::move(epilogue);
    step->scratch = builder.AddScratch(step->blocks.scratch_bytes);
  } else {
    absl::StatusOr<CompiledChain> chain =
        CompiledChain::Make(op.chain, out.channels, *builder.kernels().fmap);
    if (!chain.ok()) return chain.status();
    step->chain = *std::move(chain);
  }

  StepInfo& info = step->mutable_info();
  const bool two_of_four =
      step->kernel->two_of_four && step->prepared_bytes > 0 && !QconvTakesTables(args);
  info.kernel =
      absl::StrCat(step->kernel->name, KindName(args.kind), two_of_four ? " 2:4" : "",
                   step->ends.end_steps > 0 ? " ends" : "", step->filter.sparse_choice.Text());
  info.macs = window.macs();
  info.blocked = step->epilogue_in_scratch;
  info.output_anywhere = step->epilogue_in_scratch
                             ? step->epilogue.stores_floats()
                             : step->blocks.single_pixel && step->chain.empty();
  info.rows_together = step->blocks.single_pixel;
  if (info.blocked) info.value_bytes = out.channels * out.pixels() * kSumBytes;
  info.weight_bytes = step->filter.bytes() + step->prepared.size() + step->epilogue.table_bytes() +
                      step->chain.table_bytes();
  return step;
}

}  // namespace bitmill
