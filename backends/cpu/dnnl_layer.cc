#include "backends/cpu/dnnl_layer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/dnnl_library.h"
#include "backends/cpu/one_openmp_thread.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "dnnl.hpp"

namespace bitmill {
namespace {

using Tag = dnnl::memory::format_tag;
using Descriptor = dnnl::memory::desc;
using Type = dnnl::memory::data_type;

// A convolution of twice as many multiply-accumulates (some 50 us) and more is cut into parts. How,
// depends on nothing but the layer: a part sums in the order of its own implementation.
constexpr int64_t kPartMacs = 3'000'000;
constexpr int64_t kMaxParts = 16;

absl::Status DnnlStatus(dnnl_status_t status, const char* what) {
  if (status == dnnl_success) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("oneDNN: ", what, " failed with status ", status));
}

// A reorder, or nothing when both descriptors are equal.
struct Reorder {
  dnnl::primitive primitive;
  bool active = false;
};

// The layer for some lines of the output: which, says Part.
struct Piece {
  dnnl::primitive primitive;
  Descriptor user_src, src, dst, user_dst, scratchpad;
  Reorder reorder_src, reorder_dst;
};

struct Part {
  size_t piece = 0;
  int64_t src_bytes = 0, dst_bytes = 0;  // from the row's start
};

struct PieceState {
  dnnl::memory user_src, src, dst, user_dst, scratchpad;
};

class LayerState final : public StepState {
 public:
  dnnl::stream stream;
  std::vector<PieceState> pieces;
  bool placed = false;  // the memory objects that lie in the arena have their addresses
};

class Layer final : public DnnlLayer {
 public:
  std::unique_ptr<StepState> CreateState() const override {
    auto state = std::make_unique<LayerState>();
    state->stream = dnnl::stream(engine);
    for (const Piece& piece : pieces) {
      PieceState& memory = state->pieces.emplace_back();
      memory.user_src = dnnl::memory(piece.user_src, engine, nullptr);
      memory.user_dst = dnnl::memory(piece.user_dst, engine, nullptr);
      memory.src = dnnl::memory(piece.src, engine, nullptr);
      memory.dst = dnnl::memory(piece.dst, engine, nullptr);
      memory.scratchpad = dnnl::memory(piece.scratchpad, engine, nullptr);
    }
    return state;
  }

  int64_t parts() const override { return static_cast<int64_t>(list.size()); }
  int64_t part_lines() const override { return lines; }

  absl::Status RunPart(const StepRun& run, const std::byte* from, std::byte* to,
                       int64_t index) const override {
    UseOneOpenMpThread();
    auto& state = static_cast<LayerState&>(*run.state);
    if (!state.placed) {
      BITMILL_RETURN_IF_ERROR(Place(run, state));
      state.placed = true;
    }
    const Part& part = list[static_cast<size_t>(index)];
    const Piece& piece = pieces[part.piece];
    const PieceState& memory = state.pieces[part.piece];
    // oneDNN reads `from` only; its interface has no const.
    void* const source = const_cast<std::byte*>(from + part.src_bytes);
    BITMILL_RETURN_IF_ERROR(
        SetHandle(piece.reorder_src.active ? memory.user_src : memory.src, source));
    BITMILL_RETURN_IF_ERROR(
        SetHandle(piece.reorder_dst.active ? memory.user_dst : memory.dst, to + part.dst_bytes));
    if (piece.reorder_src.active) {
      BITMILL_RETURN_IF_ERROR(
          Convert(piece.reorder_src.primitive, state.stream, memory.user_src, memory.src));
    }
    const std::array<dnnl_exec_arg_t, 5> args = {{{DNNL_ARG_SRC, memory.src.get()},
                                                  {DNNL_ARG_WEIGHTS, weights.get()},
                                                  {DNNL_ARG_DST, memory.dst.get()},
                                                  {DNNL_ARG_SCRATCHPAD, memory.scratchpad.get()},
                                                  {DNNL_ARG_BIAS, bias.get(true)}}};
    BITMILL_RETURN_IF_ERROR(
        DnnlStatus(dnnl_primitive_execute(piece.primitive.get(), state.stream.get(),
                                          has_bias ? 5 : 4, args.data()),
                   "running a layer"));
    if (piece.reorder_dst.active) {
      return Convert(piece.reorder_dst.primitive, state.stream, memory.dst, memory.user_dst);
    }
    return absl::OkStatus();
  }

  static absl::Status SetHandle(const dnnl::memory& memory, void* address) {
    return DnnlStatus(dnnl_memory_set_data_handle(memory.get(), address), "placing a tensor");
  }

  absl::Status Place(const StepRun& run, LayerState& state) const {
    for (size_t i = 0; i < pieces.size(); ++i) {
      const PieceState& memory = state.pieces[i];
      if (scratch >= 0) BITMILL_RETURN_IF_ERROR(SetHandle(memory.scratchpad, run.buffers[scratch]));
      if (pieces[i].reorder_src.active) {
        BITMILL_RETURN_IF_ERROR(SetHandle(memory.src, run.buffers[src_buffer]));
      }
      if (pieces[i].reorder_dst.active) {
        BITMILL_RETURN_IF_ERROR(SetHandle(memory.dst, run.buffers[dst_buffer]));
      }
    }
    return absl::OkStatus();
  }

  static absl::Status Convert(const dnnl::primitive& reorder, const dnnl::stream& stream,
                              const dnnl::memory& from, const dnnl::memory& to) {
    const std::array<dnnl_exec_arg_t, 2> args = {
        {{DNNL_ARG_FROM, from.get()}, {DNNL_ARG_TO, to.get()}}};
    return DnnlStatus(dnnl_primitive_execute(reorder.get(), stream.get(), 2, args.data()),
                      "reordering a tensor");
  }

  int64_t weight_bytes() const override {
    return static_cast<int64_t>(weights.get_desc().get_size()) +
           (has_bias ? static_cast<int64_t>(bias.get_desc().get_size()) : 0);
  }
  std::string implementation() const override { return name; }

  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::vector<Piece> pieces;
  std::vector<Part> list;
  int64_t lines = 0;  // of the output, of a part
  PackedBytes packed_weights;
  dnnl::memory weights, bias;  // weights lie in packed_weights
  bool has_bias = false;
  // Working memory of the largest piece: of the primitive, and its side of the reorders; -1: none.
  int32_t scratch = -1, src_buffer = -1, dst_buffer = -1;
  std::string name;
};

Reorder MakeReorder(const dnnl::engine& engine, const Descriptor& from, const Descriptor& to) {
  Reorder reorder;
  if (from == to) return reorder;
  reorder.active = true;
  reorder.primitive = dnnl::reorder(dnnl::reorder::primitive_desc(engine, from, engine, to));
  return reorder;
}

// A piece once its primitive descriptor is known.
template <typename PrimitiveDescriptor>
Piece FinishPiece(const PrimitiveDescriptor& descriptor, dnnl::primitive primitive,
                  const Descriptor& user_src, const Descriptor& user_dst,
                  const dnnl::engine& engine) {
  Piece piece;
  piece.primitive = std::move(primitive);
  piece.user_src = user_src;
  piece.user_dst = user_dst;
  piece.src = descriptor.src_desc();
  piece.dst = descriptor.dst_desc();
  piece.scratchpad = descriptor.scratchpad_desc();
  piece.reorder_src = MakeReorder(engine, user_src, piece.src);
  piece.reorder_dst = MakeReorder(engine, piece.dst, user_dst);
  return piece;
}

int32_t AddLargest(size_t bytes, StepBuilder& builder) {
  return bytes == 0 ? -1 : builder.AddScratch(static_cast<int64_t>(bytes));
}

// What both kinds of layer have in common once the pieces are made; `descriptor` is one's.
template <typename PrimitiveDescriptor>
absl::Status Finish(const PrimitiveDescriptor& descriptor, const Descriptor& plain_weights,
                    const Tensor& weights, const std::vector<float>& bias, StepBuilder& builder,
                    Layer& layer) {
  size_t scratch_bytes = 0, src_bytes = 0, dst_bytes = 0;
  for (const Piece& piece : layer.pieces) {
    scratch_bytes = std::max(scratch_bytes, piece.scratchpad.get_size());
    if (piece.reorder_src.active) src_bytes = std::max(src_bytes, piece.src.get_size());
    if (piece.reorder_dst.active) dst_bytes = std::max(dst_bytes, piece.dst.get_size());
  }
  layer.scratch = AddLargest(scratch_bytes, builder);
  layer.src_buffer = AddLargest(src_bytes, builder);
  layer.dst_buffer = AddLargest(dst_bytes, builder);

  // The descriptor as a whole is the layout; what oneDNN makes of the same weights is the same.
  const Descriptor layout = descriptor.weights_desc();
  const std::string name =
      absl::StrCat("dnnl ", absl::Hex(HashBytes(&layout.data, sizeof(layout.data))));
  BITMILL_ASSIGN_OR_RETURN(
      layer.packed_weights,
      builder.FromWeights(
          name, static_cast<int64_t>(layout.get_size()), [&](std::byte* to) -> absl::Status {
            if (!weights.has_elements()) {
              return absl::FailedPreconditionError("the plan file has no weights in this layout");
            }
            // Read only, as above.
            dnnl::memory plain(plain_weights, layer.engine, const_cast<void*>(weights.data()));
            dnnl::memory packed(layout, layer.engine, to);
            dnnl::stream stream(layer.engine);
            dnnl::reorder(plain, packed).execute(stream, plain, packed);
            stream.wait();
            return absl::OkStatus();
          }));
  layer.weights =
      dnnl::memory(layout, layer.engine, const_cast<std::byte*>(layer.packed_weights.data()));
  if (!bias.empty()) {
    layer.has_bias = true;
    layer.bias = dnnl::memory(descriptor.bias_desc(), layer.engine);
    std::memcpy(layer.bias.get_data_handle(), bias.data(), bias.size() * sizeof(float));
  }
  const char* implementation = descriptor.impl_info_str();
  layer.name = absl::StrCat("dnnl ", implementation == nullptr ? "" : implementation);
  return absl::OkStatus();
}

Descriptor Describe(const dnnl::memory::dims& dims, Tag tag, Type type = Type::f32) {
  return Descriptor(dims, type, tag);
}

Tag TagOf(const BufferLayout& layout) {
  return layout.storage == Storage::kPixelFloat ? Tag::nhwc : Tag::nchw;
}

bool IsSlow(const dnnl::convolution_forward::primitive_desc& descriptor) {
  const char* const name = descriptor.impl_info_str();
  return name == nullptr || std::strstr(name, "ref") != nullptr ||
         std::strstr(name, "gemm") != nullptr;
}

using ConvDescriptor = dnnl::convolution_forward::primitive_desc;

// Lines of the output, the lines of the input that they need, and the padding in front of those.
struct LineBlock {
  int64_t first = 0, count = 0;
  int64_t in_first = 0, in_count = 0, pad = 0;

  bool SameShape(const LineBlock& other) const {
    return count == other.count && in_count == other.in_count && pad == other.pad;
  }
};

LineBlock BlockOf(const FloatConvOp& op, int64_t in_height, int64_t first, int64_t count) {
  const int64_t reach = (op.weights->shape()[2] - 1) * op.dilation_h + 1;
  const int64_t begin = first * op.stride_h - op.pad_top;
  const int64_t end = begin + (count - 1) * op.stride_h + reach;
  LineBlock block{first, count};
  block.in_first = std::clamp<int64_t>(begin, 0, in_height);
  block.in_count = std::max<int64_t>(std::min(end, in_height) - block.in_first, 0);
  block.pad = block.in_first - begin;
  return block;
}

class ConvMaker {
 public:
  ConvMaker(const FloatConvOp& op, const BufferLayout& input, const BufferLayout& output,
            StepBuilder& builder)
      : op_(op), input_(input), output_(output), builder_(builder) {
    const Shape& shape = op.weights->shape();
    grouped_ = op.groups > 1;
    weight_dims_ = {shape[0], shape[1], shape[2], shape[3]};
    if (grouped_) weight_dims_ = {op.groups, shape[0] / op.groups, shape[1], shape[2], shape[3]};
    attributes_.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  }

  absl::StatusOr<std::unique_ptr<DnnlLayer>> Make() {
    if (builder_.kernels().bf16) {
      operands_ = Type::bf16;
      BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Layer> layer, MakeLayer());
      if (layer != nullptr) return layer;
      operands_ = Type::f32;
    }
    return MakeLayer();
  }

 private:
  // Null in bfloat16 where oneDNN has nothing fast for it.
  absl::StatusOr<std::unique_ptr<Layer>> MakeLayer() {
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Layer> layer, MakeByLines());
    if (layer == nullptr) {
      BITMILL_ASSIGN_OR_RETURN(layer, MakeWhole());
    }
    return layer;
  }

  // What a product reads.
  Descriptor Operand(const dnnl::memory::dims& dims, Tag tag) const {
    return bitmill::Describe(dims, tag, operands_);
  }

  dnnl::memory::dims SrcDims(const LineBlock& block) const {
    return {1, input_.channels, block.in_count, input_.width};
  }
  dnnl::memory::dims DstDims(const LineBlock& block) const {
    return {1, output_.channels, block.count, output_.width};
  }

  ConvDescriptor Describe(const LineBlock& block, const Descriptor& src, const Descriptor& weights,
                          const Descriptor& dst) const {
    const Shape& shape = op_.weights->shape();
    // oneDNN counts extra pixels between taps, and padding behind as what the output needs.
    const auto behind = [](int64_t in, int64_t out, int64_t kernel, int64_t stride,
                           int64_t dilation, int64_t before) {
      return (out - 1) * stride + (kernel - 1) * dilation + 1 - in - before;
    };
    const dnnl::memory::dims strides = {op_.stride_h, op_.stride_w};
    const dnnl::memory::dims dilations = {op_.dilation_h - 1, op_.dilation_w - 1};
    const dnnl::memory::dims before = {block.pad, op_.pad_left};
    const dnnl::memory::dims after = {
        behind(block.in_count, block.count, shape[2], op_.stride_h, op_.dilation_h, block.pad),
        behind(input_.width, output_.width, shape[3], op_.stride_w, op_.dilation_w, op_.pad_left)};
    const Descriptor bias =
        op_.bias.empty() ? Descriptor() : bitmill::Describe({output_.channels}, Tag::a);
    const dnnl::convolution_forward::desc description(
        dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, src, weights, bias,
        dst, strides, dilations, before, after);
    return ConvDescriptor(description, attributes_, engine_);
  }

  void AddPiece(const ConvDescriptor& descriptor, const Descriptor& user_src,
                const Descriptor& user_dst, Layer& layer) const {
    layer.pieces.push_back(FinishPiece(descriptor, dnnl::convolution_forward(descriptor), user_src,
                                       user_dst, layer.engine));
  }

  absl::Status FinishLayer(const ConvDescriptor& descriptor, Layer& layer) {
    return Finish(descriptor, bitmill::Describe(weight_dims_, grouped_ ? Tag::goihw : Tag::oihw),
                  *op_.weights, op_.bias, builder_, layer);
  }

  // Null where it is not worth it, or oneDNN has nothing fast for it.
  absl::StatusOr<std::unique_ptr<Layer>> MakeByLines() {
    const Shape& shape = op_.weights->shape();
    const int64_t macs = output_.elements * shape[1] * shape[2] * shape[3];
    const int64_t wanted = std::min({macs / kPartMacs, kMaxParts, output_.height});
    if (wanted < 2 || output_.storage != Storage::kPixelFloat) return nullptr;
    const int64_t lines = (output_.height + wanted - 1) / wanted;
    auto layer = std::make_unique<Layer>();
    layer->engine = engine_;
    layer->lines = lines;
    std::vector<LineBlock> blocks;
    std::optional<ConvDescriptor> first;
    for (int64_t y = 0; y < output_.height; y += lines) {
      const LineBlock block = BlockOf(op_, input_.height, y, std::min(lines, output_.height - y));
      if (block.in_count < 1) return nullptr;
      Part part;
      part.src_bytes = block.in_first * LineBytes(input_);
      part.dst_bytes = block.first * output_.row_bytes;
      const auto same = std::find_if(blocks.begin(), blocks.end(), [&](const LineBlock& other) {
        return block.SameShape(other);
      });
      part.piece = static_cast<size_t>(same - blocks.begin());
      layer->list.push_back(part);
      if (same != blocks.end()) continue;
      blocks.push_back(block);
      const Descriptor src = Operand(SrcDims(block), Tag::nhwc);
      const Descriptor dst = bitmill::Describe(DstDims(block), Tag::nhwc);
      const Descriptor weights = first ? first->weights_desc() : Operand(weight_dims_, Tag::any);
      const ConvDescriptor descriptor = Describe(block, src, weights, dst);
      if (IsSlow(descriptor)) return nullptr;
      if (!first) first = descriptor;
      AddPiece(descriptor, UserLines(block), dst, *layer);
    }
    BITMILL_RETURN_IF_ERROR(FinishLayer(*first, *layer));
    return layer;
  }

  // From one line of the input to the next; planes lie one behind the other.
  static int64_t LineBytes(const BufferLayout& layout) {
    return layout.storage == Storage::kPixelFloat ? layout.row_bytes
                                                  : layout.width * int64_t{sizeof(float)};
  }

  Descriptor UserLines(const LineBlock& block) const {
    if (input_.storage == Storage::kPixelFloat) {
      return bitmill::Describe(SrcDims(block), Tag::nhwc);
    }
    const int64_t plane = input_.height * input_.width;
    const dnnl::memory::dims strides = {input_.channels * plane, plane, input_.width, 1};
    return Descriptor(SrcDims(block), dnnl::memory::data_type::f32, strides);
  }

  absl::StatusOr<std::unique_ptr<Layer>> MakeWhole() {
    auto layer = std::make_unique<Layer>();
    layer->engine = engine_;
    const LineBlock all{0, output_.height, 0, input_.height, op_.pad_top};
    const Descriptor user_src = bitmill::Describe(SrcDims(all), TagOf(input_));
    const Descriptor user_dst = bitmill::Describe(DstDims(all), TagOf(output_));
    const Descriptor weights = Operand(weight_dims_, Tag::any);
    const Descriptor own_src = Operand(SrcDims(all), TagOf(input_));
    auto descriptor = Describe(all, own_src, weights, user_dst);
    // Layouts of its own choice cost a reorder each way, which a fast implementation repays. An
    // image of few channels is taken as it is by implementations that are made for first layers.
    const Descriptor any_src = Operand(SrcDims(all), Tag::any);
    const Descriptor any_dst = bitmill::Describe(DstDims(all), Tag::any);
    const std::array<std::pair<Descriptor, Descriptor>, 3> others = {
        {{Operand(SrcDims(all), Tag::nhwc), bitmill::Describe(DstDims(all), Tag::nhwc)},
         {own_src, any_dst},
         {any_src, any_dst}}};
    for (size_t i = 0; i < others.size() && IsSlow(descriptor); ++i) {
      descriptor = Describe(all, others[i].first, weights, others[i].second);
    }
    if (operands_ == Type::bf16 && IsSlow(descriptor)) return nullptr;
    AddPiece(descriptor, user_src, user_dst, *layer);
    layer->lines = output_.height;
    layer->list.emplace_back();
    BITMILL_RETURN_IF_ERROR(FinishLayer(descriptor, *layer));
    return layer;
  }

  const FloatConvOp& op_;
  const BufferLayout& input_;
  const BufferLayout& output_;
  StepBuilder& builder_;
  const dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  Type operands_ = Type::f32;
  bool grouped_ = false;
  dnnl::memory::dims weight_dims_;
  dnnl::primitive_attr attributes_;
};

absl::StatusOr<std::unique_ptr<DnnlLayer>> MakeDense(const FloatDenseOp& op, StepBuilder& builder) {
  auto layer = std::make_unique<Layer>();
  const int64_t outputs = op.weights->shape()[0], inputs = op.weights->shape()[1];
  const Descriptor src = Describe({1, inputs}, Tag::nc), dst = Describe({1, outputs}, Tag::nc);
  const Type operands = builder.kernels().bf16 ? Type::bf16 : Type::f32;
  const Descriptor bias = op.bias.empty() ? Descriptor() : Describe({outputs}, Tag::a);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::inner_product_forward::desc description(
      dnnl::prop_kind::forward_inference, Describe({1, inputs}, Tag::nc, operands),
      Describe({outputs, inputs}, Tag::any, operands), bias, dst);
  const dnnl::inner_product_forward::primitive_desc descriptor(description, attributes,
                                                               layer->engine);
  layer->pieces.push_back(
      FinishPiece(descriptor, dnnl::inner_product_forward(descriptor), src, dst, layer->engine));
  layer->lines = 1;
  layer->list.emplace_back();
  BITMILL_RETURN_IF_ERROR(Finish(descriptor, Describe({outputs, inputs}, Tag::oi), *op.weights,
                                 op.bias, builder, *layer));
  return layer;
}

template <typename Make>
absl::StatusOr<std::unique_ptr<DnnlLayer>> Adapt(const StepBuilder& builder, Make make) {
  LimitDnnlIsa(builder.kernels().isa);
  UseOneOpenMpThread();
  try {
    return make();
  } catch (const dnnl::error& error) {
    return absl::UnimplementedError(
        absl::StrCat("oneDNN does not take this layer: ", error.what()));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<DnnlLayer>> MakeDnnlConv(const FloatConvOp& op,
                                                        const BufferLayout& input,
                                                        const BufferLayout& output,
                                                        StepBuilder& builder) {
  return Adapt(builder, [&] { return ConvMaker(op, input, output, builder).Make(); });
}

absl::StatusOr<std::unique_ptr<DnnlLayer>> MakeDnnlDense(const FloatDenseOp& op,
                                                         const BufferLayout& /*input*/,
                                                         const BufferLayout& /*output*/,
                                                         StepBuilder& builder) {
  return Adapt(builder, [&] { return MakeDense(op, builder); });
}

}  // namespace bitmill
