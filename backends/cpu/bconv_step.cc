// Convolution of bits with 1-bit or ternary weights (kernels/bconv/bconv.h).
//
// Bits out and float out of a dense layer come from the kernel itself, all rows in one call;
// everything else passes through blocks of scratch and the epilogue. A dense layer presents the
// rows of the chunk as the pixels of one line, so that rows share each load of weights.
//
// Thresholds become limits on the count x of differing bits: acc = base - 2x is at least t exactly
// when x <= floor((base - t) / 2), and the output bit (-1) is its negation. Channels with a flipped
// comparison are stored with negated weights. With zero padding `base` depends on which taps fall
// outside the image: their border bits count as +1 there, and base takes that back.
//
// Pruned weights are stored without their empty words where that is faster than all of them
// (kernels/sparse_form.h).
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/cpu/bconv_finisher.h"
#include "backends/cpu/bconv_tables.h"
#include "backends/cpu/bdepth_step.h"
#include "backends/cpu/conv_blocks.h"
#include "backends/cpu/conv_epilogue.h"
#include "backends/cpu/conv_window.h"
#include "backends/cpu/line_step.h"
#include "backends/cpu/steps.h"
#include "base/aligned_buffer.h"
#include "base/status_macros.h"
#include "kernels/bconv/sparse_bconv.h"

namespace bitmill {
namespace {

using Epilogue = LowBitConvOp::Epilogue;

constexpr int64_t kMaxTableBytes = int64_t{1} << 30;

int64_t PadEight(int64_t count) { return (count + 7) / 8 * 8; }

class BconvStep final : public LineStep {
 public:
  LineAccess access() const override {
    if (!HasFloatLines()) return {};
    return {output.layout.height, output.layout.row_bytes, pointwise ? -1 : input.buffer,
            output.buffer};
  }

  bool HasFloatLines() const {
    return !epilogue_in_scratch && !blocks.single_pixel &&
           output.layout.storage == Storage::kPixelFloat;
  }

  bool Absorb(const LineStep& next, bool last) override {
    return HasFloatLines() && kernel->finishes != nullptr && split.calls == 1 && sparse.empty() &&
           finisher.Absorb(output, chain, next, last);
  }

  absl::Status RunLines(const StepRun& run, int64_t r, int64_t first,
                        int64_t count) const override {
    return RunLinesOf(run, r, 1, first, count);
  }
  absl::Status RunLinesOfRows(const StepRun& run, int64_t first, int64_t count) const override {
    return RunLinesOf(run, 0, run.rows, first, count);
  }

  // Lines of `rows` rows from `r` on, straight into the output buffer, all in one call.
  absl::Status RunLinesOf(const StepRun& run, int64_t r, int64_t rows, int64_t first,
                          int64_t count) const {
    const BconvArgs call = CallFor(run, r, rows, first, count);
    std::byte* const dst = output.Base(run) + output.layout.interior_bytes +
                           r * output.layout.image_bytes + first * output.layout.row_bytes;
    if (finisher.RunLines(run, {r, first, count}, [&](const BconvFinish& finish, float* to) {
          return RunFinished(run, call, finish, to);
        })) {
      return absl::OkStatus();
    }
    RunGroups(run, call, dst);
    for (int64_t row = r; row < r + rows; ++row) {
      RunChain(run, row, first, count);
      BITMILL_RETURN_IF_ERROR(finisher.RunSteps(run, {row, first, count}));
    }
    return absl::OkStatus();
  }

  // All but the outputs.
  BconvArgs CallFor(const StepRun& run, int64_t r, int64_t rows, int64_t first,
                    int64_t count) const {
    BconvArgs call = args;
    const int64_t line_bytes = args.stride_h * input.layout.row_bytes;
    call.input = reinterpret_cast<const uint64_t*>(
        input.Base(run) + window_start + r * input.layout.image_bytes + first * line_bytes);
    if (blocks.single_pixel) {  // rows are the pixels of a line
      call.out_w = static_cast<int32_t>(rows);
      return call;
    }
    call.batch = static_cast<int32_t>(rows);
    call.out_h = static_cast<int32_t>(count);
    if (call.row_class != nullptr) call.row_class += first;
    return call;
  }

  // Lines of a float output.
  void RunChain(const StepRun& run, int64_t r, int64_t first, int64_t count) const {
    if (chain.empty()) return;
    const BufferLayout& out = output.layout;
    std::byte* const lines = output.Base(run) + r * out.image_bytes + first * out.row_bytes;
    chain.RunInterleaved(reinterpret_cast<float*>(lines), count * out.width, out.channels);
  }

  // False where the kernel leaves what follows to others in such a call.
  bool RunFinished(const StepRun& run, BconvArgs call, const BconvFinish& finish,
                   float* lines) const {
    constexpr int64_t kElement = sizeof(float);
    SelectGroup(run, 0, call);
    call.out_image = output.layout.image_bytes / kElement;
    call.out_row = output.layout.row_bytes / kElement;
    call.out_pixel = output.layout.pixel_bytes / kElement;
    call.out_float = lines;
    call.finish = &finish;
    if (!BconvFinishes(*kernel, call)) return false;
    kernel->run(call);
    return true;
  }

  int32_t block_shift() const override { return shift; }

  int64_t parts() const override { return blocks.single_pixel ? 0 : output.layout.height; }

  void Prepare(const StepRun& run) const override {
    if (output.layout.storage == Storage::kBits || output.layout.storage == Storage::kCodes) {
      PrepareBuffer(output.layout, output.Base(run), run.rows);
    }
  }

  absl::Status RunParts(const StepRun& run, int64_t first, int64_t count) const override {
    if (!epilogue_in_scratch) return LineStep::RunParts(run, first, count);
    RunBlocks(run, first, count);
    return absl::OkStatus();
  }

  absl::Status Run(const StepRun& run) const override {
    Prepare(run);
    if (epilogue_in_scratch) {
      RunBlocks(run, 0, output.layout.height);
      return absl::OkStatus();
    }
    ComputeChunk(run);
    for (int64_t r = 0; r < run.rows; ++r) RunChain(run, r, 0, output.layout.height);
    return absl::OkStatus();
  }

  // Lines of all rows as planes from the kernel; false where it leaves that to the epilogue.
  bool RunPlanes(const StepRun& run, int64_t first, int64_t count) const {
    if (!planes) return false;
    const BufferLayout& out = output.layout;
    BconvArgs call = CallFor(run, 0, run.rows, first, count);
    SelectGroup(run, 0, call);
    call.out_image = out.image_bytes / int64_t{sizeof(float)};
    call.out_row = out.width;
    call.out_pixel = 1;
    call.out_channel = out.pixels();
    call.out_float = reinterpret_cast<float*>(output.Base(run)) + first * out.width;
    if (!BconvStoresPlanes(*kernel, call)) return false;
    kernel->run(call);
    return true;
  }

  // Lines of all rows through the epilogue.
  void RunBlocks(const StepRun& run, int64_t first, int64_t count) const {
    if (RunPlanes(run, first, count)) return;
    std::byte* const work = run.buffers[scratch];
    RunConvBlocks(blocks, epilogue, output, run, {first, count}, work,
                  [&](const ConvBlock& block) { ComputeBlock(run, block, work); });
  }

  // All rows of the chunk, straight into the output buffer.
  void ComputeChunk(const StepRun& run) const {
    const BconvArgs call = CallFor(run, 0, run.rows, 0, args.out_h);
    RunGroups(run, call, output.Base(run) + output.layout.interior_bytes);
  }

  // Straight to bits or floats, laid out as the output is.
  void RunGroups(const StepRun& run, BconvArgs call, std::byte* dst) const {
    const BufferLayout& out = output.layout;
    const bool bits = out.storage == Storage::kBits;
    const int64_t element = bits ? 1 : int64_t{sizeof(float)};
    call.out_image = out.image_bytes / element;
    call.out_row = out.row_bytes / element;
    call.out_pixel = (blocks.single_pixel ? out.image_bytes : out.pixel_bytes) / element;
    for (int64_t g = 0; g < split.calls; ++g) {
      SelectGroup(run, g, call);
      const int64_t first = g * split.outputs;
      call.out_bits = bits ? reinterpret_cast<uint8_t*>(dst) + first / 8 : nullptr;
      call.out_float = bits ? nullptr : reinterpret_cast<float*>(dst) + first;
      kernel->run(call);
      call.input += group_words;
    }
  }

  void ComputeBlock(const StepRun& run, const ConvBlock& block, std::byte* work) const {
    const bool single = blocks.single_pixel;
    BconvArgs call =
        CallFor(run, block.row, single ? block.count : 1, block.line, single ? 1 : block.count);
    const int64_t channels = output.layout.channels;
    call.out_pixel = channels;
    call.out_row = call.out_w * channels;
    call.out_image = call.out_h * call.out_row;
    for (int64_t g = 0; g < split.calls; ++g) {
      SelectGroup(run, g, call);
      const int64_t first = g * split.outputs;
      call.out_int32 = epilogue.wants_float() ? nullptr : reinterpret_cast<int32_t*>(work) + first;
      call.out_float = epilogue.wants_float() ? reinterpret_cast<float*>(work) + first : nullptr;
      kernel->run(call);
      call.input += group_words;
    }
  }

  void SelectGroup(const StepRun& run, int64_t g, BconvArgs& call) const {
    const int64_t padded = PadEight(split.outputs);
    SelectWeights(g, call);
    call.prepared = prepared_bytes > 0 ? prepared.data() + g * prepared_bytes : nullptr;
    call.scratch = kernel_scratch >= 0 ? run.buffers[kernel_scratch] : nullptr;
    call.base = base.data() + g * classes * padded;
    call.limits = limits.empty() ? nullptr : limits.data() + g * classes * padded;
    call.scale = scale.empty() ? nullptr : scale.data() + g * padded;
    call.bias = bias.empty() ? nullptr : bias.data() + g * padded;
  }

  void SelectWeights(int64_t g, BconvArgs& call) const {
    if (sparse.empty()) {
      call.weights = weights.as<uint64_t>() + g * call_weight_words;
    } else {
      call = sparse[static_cast<size_t>(g)].Applied(call);
    }
  }

  // "bconv_avx2 ternary sparse 23 %"; not ternary where no word that is left has a zero.
  std::string KernelText() const {
    const bool ternary =
        sparse.empty() ? args.planes == 2
                       : std::any_of(sparse.begin(), sparse.end(),
                                     [](const SparseBconv& call) { return call.planes == 2; });
    return absl::StrCat(kernel->name, ternary ? " ternary" : "", sparse_choice.Text());
  }

  int64_t weight_bytes() const {
    int64_t bytes = weights.size() + prepared.size();
    for (const SparseBconv& call : sparse) bytes += call.bytes();
    return bytes;
  }

  Operand input, output;
  bool pointwise = false;  // a pixel depends on the same pixel alone
  const BconvKernel* kernel = nullptr;
  GroupSplit split;
  BconvArgs args{};          // everything that no call changes
  int64_t window_start = 0;  // bytes from an image's start to the window of pixel (0, 0)
  int64_t group_words = 0;
  int64_t call_weight_words = 0;
  int64_t classes = 1;

  PackedBytes weights;              // [calls][blocks][taps][words][planes][8]; none if sparse
  std::vector<SparseBconv> sparse;  // [calls], or none
  SparseChoice sparse_choice;
  PackedBytes prepared;        // [calls][prepared_bytes], as the kernel likes them
  int64_t prepared_bytes = 0;  // of a call
  std::vector<int32_t> tap_words;
  std::vector<int32_t> row_class, col_class;
  std::vector<int32_t> base, limits;  // [calls][classes][outputs of a call, rounded up to 8]
  std::vector<float> scale, bias;     // [calls][outputs of a call, rounded up to 8]

  bool epilogue_in_scratch = false;
  bool planes = false;  // the epilogue does nothing but transpose
  int32_t shift = 0;
  ConvBlocks blocks;
  ConvEpilogue epilogue;
  CompiledChain chain;  // float output without scratch
  BconvFinisher finisher;
  int32_t scratch = -1;
  int32_t kernel_scratch = -1;
};

absl::Status PackCalls(const LowBitConvOp& op, const ConvWindow& window,
                       const PaddingClasses* padding, StepBuilder& builder, BconvStep& step) {
  const GroupSplit& split = step.split;
  step.classes = padding == nullptr ? 1 : padding->count();
  step.call_weight_words =
      PackedBconvWords(static_cast<int32_t>(split.outputs), static_cast<int32_t>(split.channels),
                       static_cast<int32_t>(window.taps()), step.args.planes);
  const int64_t table = split.calls * step.classes * PadEight(split.outputs);
  const int64_t weight_bytes = split.calls * step.call_weight_words * 8;
  if (weight_bytes > kMaxTableBytes || table * 4 > kMaxTableBytes) {
    return absl::ResourceExhaustedError("packed weights would take more than 1 GiB");
  }
  absl::StatusOr<PackedBytes> filter =
      builder.FromWeights("bconv", weight_bytes + table * 4, [&](std::byte* to) {
        return FillBconvFilter(op, window, split, padding, step.args.planes,
                               reinterpret_cast<uint64_t*>(to),
                               reinterpret_cast<int32_t*>(to + weight_bytes));
      });
  if (!filter.ok()) return filter.status();
  step.weights = PackedBytes(filter->shared(), weight_bytes);
  const auto* const bases = reinterpret_cast<const int32_t*>(filter->data() + weight_bytes);
  step.base.assign(bases, bases + table);
  if (op.epilogue != Epilogue::kThresholds) {
    step.scale = PadCalls(op.scale, split);
    step.bias = PadCalls(op.bias, split);
  } else if (!step.epilogue_in_scratch) {
    step.limits = BconvLimits(step.base, step.classes, split, op.thresholds);
  }
  return absl::OkStatus();
}

// Drops the empty words of the weights where that pays, or as was chosen.
absl::Status DropEmptyWords(StepBuilder& builder, BconvStep& step) {
  BconvArgs call = step.args;
  if (call.planes != 2) return absl::OkStatus();
  absl::Status status;
  const auto density = [&](int32_t group_channels) {
    absl::StatusOr<PackedBytes> found = builder.FromOthers(
        absl::StrCat("density of ", group_channels), sizeof(double), [&](std::byte* to) {
          double sum = 0.0;
          for (int64_t g = 0; g < step.split.calls; ++g) {
            step.SelectWeights(g, call);
            sum += BconvDensity(call, group_channels);
          }
          *reinterpret_cast<double*>(to) = sum / static_cast<double>(step.split.calls);
          return absl::OkStatus();
        });
    status.Update(found.status());
    return found.ok() ? *found->as<double>() : 1.0;
  };
  const SparseForms& forms = step.kernel->sparse;
  const bool few_pixels = step.blocks.single_pixel;
  step.sparse_choice = FormOf(builder.choice().sparse_channels, forms, few_pixels, density);
  const int32_t other = OtherSparseForm(step.sparse_choice, forms, few_pixels, density);
  if (other != LayerChoice::kByDensity) builder.OfferForm({.sparse_channels = other});
  if (!status.ok() || step.sparse_choice.group_channels == 0) return status;
  std::vector<SparseBconv> sparse;
  for (int64_t g = 0; g < step.split.calls; ++g) {
    step.SelectWeights(g, call);
    sparse.push_back(MakeSparseBconv(call, static_cast<int32_t>(step.split.channels),
                                     step.sparse_choice.group_channels));
  }
  step.sparse = std::move(sparse);
  step.weights = PackedBytes();
  return absl::OkStatus();
}

// What the kernel keeps of the weights, and writes during its calls. `rows`: of the largest chunk.
absl::Status PrepareKernel(int64_t rows, StepBuilder& builder, BconvStep& step) {
  BconvArgs call = step.args;
  if (step.blocks.single_pixel) {
    call.out_w = static_cast<int32_t>(rows);
  } else {
    call.batch = static_cast<int32_t>(rows);
  }
  int64_t scratch_bytes = 0;
  for (int64_t g = 0; g < step.split.calls; ++g) {
    step.SelectWeights(g, call);
    scratch_bytes = std::max(scratch_bytes, BconvScratchBytes(*step.kernel, call));
    step.prepared_bytes = std::max(step.prepared_bytes, PreparedBconvBytes(*step.kernel, call));
  }
  if (scratch_bytes > 0) step.kernel_scratch = builder.AddScratch(scratch_bytes);
  const int64_t line = int64_t{kCacheLineBytes};
  step.prepared_bytes = (step.prepared_bytes + line - 1) / line * line;
  if (step.prepared_bytes == 0) return absl::OkStatus();
  absl::StatusOr<PackedBytes> prepared =
      builder.FromOthers(absl::StrCat(step.kernel->name, " for ", rows, " rows"),
                         step.split.calls * step.prepared_bytes, [&](std::byte* to) {
                           for (int64_t g = 0; g < step.split.calls; ++g) {
                             step.SelectWeights(g, call);
                             PrepareBconv(*step.kernel, call, to + g * step.prepared_bytes);
                           }
                           return absl::OkStatus();
                         });
  if (!prepared.ok()) return prepared.status();
  step.prepared = *std::move(prepared);
  return absl::OkStatus();
}

// A kernel that prepares weights but has none prepared here leaves the call to its rival anyway.
void OfferRival(StepBuilder& builder, const BconvStep& step) {
  const BconvKernel& kernel = *step.kernel;
  if (kernel.rival == nullptr || (kernel.prepare != nullptr && step.prepared_bytes == 0)) return;
  builder.OfferForm({.kernel = kernel.rival});
}

}  // namespace

absl::StatusOr<StepPtr> MakeBconvStep(const LowBitConvOp& op, const CodeInfo& output_code,
                                      const Operand& input, const Operand& output,
                                      StepBuilder& builder) {
  absl::StatusOr<ConvWindow> made = MakeConvWindow(op, input.layout, output.layout);
  if (!made.ok()) return made.status();
  const ConvWindow& window = *made;
  if (absl::Status status = CheckEpilogue(op, output_code, output.layout); !status.ok()) {
    return status;
  }
  if (IsDepthwise(window)) {
    return MakeBdepthStep(op, window, output_code, input, output, builder);
  }
  auto step = std::make_unique<BconvStep>();
  step->input = input;
  step->output = output;
  const LayerChoice& choice = builder.choice();
  step->kernel =
      FindKernel(BconvKernels, choice.kernel, builder.kernels().isa, builder.kernels().bconv);
  if (step->kernel == nullptr) return absl::InternalError("no such kernel: " + choice.kernel);
  step->split = SplitGroups(window, 64);
  step->shift = choice.block_shift;
  step->blocks =
      ConvBlocks::For(window, step->kernel->scratch_bytes != nullptr, choice.block_shift);
  step->pointwise = window.pointwise();

  const BufferLayout& in = input.layout;
  const BufferLayout& out = output.layout;
  const bool direct_bits = op.epilogue == Epilogue::kThresholds && out.storage == Storage::kBits &&
                           (step->split.calls == 1 || step->split.outputs % 8 == 0);
  const bool direct_float = op.epilogue == Epilogue::kFloat &&
                            (out.storage == Storage::kPixelFloat || window.single_pixel());
  step->epilogue_in_scratch = !direct_bits && !direct_float;

  BconvArgs& args = step->args;
  args.image_words = in.image_bytes / 8;
  args.row_words = in.row_bytes / 8;
  args.pixel_words = static_cast<int32_t>(in.pixel_bytes / 8);
  args.c_words = static_cast<int32_t>((step->split.channels + 63) / 64);
  args.batch = 1;
  args.out_h = static_cast<int32_t>(window.out_h);
  args.out_w = static_cast<int32_t>(window.out_w);
  args.out_channels = static_cast<int32_t>(step->split.outputs);
  args.stride_h = static_cast<int32_t>(window.stride_h);
  args.stride_w = static_cast<int32_t>(window.stride_w);
  args.planes = op.weight_bits == 1 && step->split.merged == 1 ? 1 : 2;
  if (step->blocks.single_pixel) {
    args.pixel_words = static_cast<int32_t>(args.image_words);
    args.stride_w = 1;
  }
  BconvTaps taps = JoinTaps(window, in, args.c_words, step->split.calls == 1);
  step->tap_words = std::move(taps.words);
  args.tap_words = step->tap_words.data();
  args.taps = static_cast<int32_t>(step->tap_words.size());
  args.c_words = taps.c_words;
  step->group_words = step->split.channels / 64;
  const Border border = window.NeededBorder();
  step->window_start = in.interior_bytes - border.top * in.row_bytes - border.left * in.pixel_bytes;

  PaddingClasses padding;
  const bool zero_padded = op.padding == Padding::kZero && !border.empty();
  if (zero_padded) {
    padding = ClassifyPadding(window);
    step->row_class = padding.row_class;
    step->col_class = padding.col_class;
    args.col_classes = static_cast<int32_t>(padding.cols.size());
    if (!step->blocks.single_pixel) {
      args.row_class = step->row_class.data();
      args.col_class = step->col_class.data();
    }
  }
  BITMILL_RETURN_IF_ERROR(PackCalls(op, window, zero_padded ? &padding : nullptr, builder, *step));
  BITMILL_RETURN_IF_ERROR(DropEmptyWords(builder, *step));
  BITMILL_RETURN_IF_ERROR(PrepareKernel(builder.chunk_rows(), builder, *step));
  OfferRival(builder, *step);
  step->planes = op.epilogue == Epilogue::kFloat && op.chain.empty() && !direct_float &&
                 !step->blocks.single_pixel && step->split.calls == 1 && step->sparse.empty();
  if (step->epilogue_in_scratch) {
    absl::StatusOr<ConvEpilogue> epilogue =
        ConvEpilogue::Make(op, output_code, out, builder.kernels(), {});
    if (!epilogue.ok()) return epilogue.status();
    step->epilogue = *std::move(epilogue);
    step->scratch = builder.AddScratch(step->blocks.scratch_bytes);
  } else if (direct_float) {
    absl::StatusOr<CompiledChain> chain =
        CompiledChain::Make(op.chain, out.channels, *builder.kernels().fmap);
    if (!chain.ok()) return chain.status();
    step->chain = *std::move(chain);
  }

  StepInfo& info = step->mutable_info();
  info.kernel = step->KernelText();
  info.macs = window.macs();
  info.blocked = step->epilogue_in_scratch;
  info.output_anywhere = step->epilogue_in_scratch
                             ? step->epilogue.stores_floats()
                             : direct_float && step->blocks.single_pixel && step->chain.empty();
  info.rows_together = !step->epilogue_in_scratch || step->blocks.single_pixel;
  if (info.blocked) info.value_bytes = out.channels * out.pixels() * kSumBytes;
  info.weight_bytes =
      step->weight_bytes() +
      static_cast<int64_t>((step->base.size() + step->limits.size() + step->scale.size() +
                            step->bias.size() + step->tap_words.size()) *
                           4) +
      step->epilogue.table_bytes() + step->chain.table_bytes();
  return step;
}

}  // namespace bitmill
