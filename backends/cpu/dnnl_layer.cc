#include "backends/cpu/dnnl_layer.h"

#include <dlfcn.h>

#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "dnnl.hpp"
#include "kernels/isa.h"

namespace bitmill {
namespace {

using Tag = dnnl::memory::format_tag;
using Descriptor = dnnl::memory::desc;

void LimitIsa(Isa isa) {
  if (isa == BestIsa()) return;
  switch (isa) {
    case Isa::kRef:
      static_cast<void>(dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41));
      return;
    case Isa::kAvx2:
      static_cast<void>(dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2));
      return;
    case Isa::kAvx512:
      static_cast<void>(dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core));
      return;
    case Isa::kAvx512Vpopcnt:
      static_cast<void>(dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core_vnni));
      return;
    case Isa::kAmx:
    case Isa::kNeon:
      return;
  }
}

// The number of OpenMP threads is a property of the calling thread. The library that oneDNN was
// linked with is asked for the function, since a program may hold more than one OpenMP runtime.
void UseOneOpenMpThread() {
  static thread_local const bool done = [] {
    using SetThreads = void (*)(int);
    const auto set = reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
    if (set != nullptr) set(1);
    return true;
  }();
  static_cast<void>(done);
}

absl::Status DnnlStatus(dnnl_status_t status, const char* what) {
  if (status == dnnl_success) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("oneDNN: ", what, " failed with status ", status));
}

// A reorder, or nothing when both descriptors are equal.
struct Reorder {
  dnnl::primitive primitive;
  int32_t buffer = -1;  // of the primitive's side
  bool active = false;
};

class LayerState final : public StepState {
 public:
  dnnl::stream stream;
  dnnl::memory user_src, src, dst, user_dst, scratchpad;
  bool placed = false;  // the memory objects that lie in the arena have their addresses
};

class Layer final : public DnnlLayer {
 public:
  std::unique_ptr<StepState> CreateState() const override {
    auto state = std::make_unique<LayerState>();
    state->stream = dnnl::stream(engine);
    state->user_src = dnnl::memory(user_src, engine, nullptr);
    state->user_dst = dnnl::memory(user_dst, engine, nullptr);
    state->src = dnnl::memory(src, engine, nullptr);
    state->dst = dnnl::memory(dst, engine, nullptr);
    state->scratchpad = dnnl::memory(scratchpad, engine, nullptr);
    return state;
  }

  absl::Status RunRow(const StepRun& run, const std::byte* from, std::byte* to) const override {
    UseOneOpenMpThread();
    auto& state = static_cast<LayerState&>(*run.state);
    if (!state.placed) {
      BITMILL_RETURN_IF_ERROR(Place(run, state));
      state.placed = true;
    }
    // oneDNN reads `from` only; its interface has no const.
    void* const source = const_cast<std::byte*>(from);
    BITMILL_RETURN_IF_ERROR(SetHandle(reorder_src.active ? state.user_src : state.src, source));
    BITMILL_RETURN_IF_ERROR(SetHandle(reorder_dst.active ? state.user_dst : state.dst, to));
    if (reorder_src.active) {
      BITMILL_RETURN_IF_ERROR(
          Convert(reorder_src.primitive, state.stream, state.user_src, state.src));
    }
    const std::array<dnnl_exec_arg_t, 5> args = {{{DNNL_ARG_SRC, state.src.get()},
                                                  {DNNL_ARG_WEIGHTS, weights.get()},
                                                  {DNNL_ARG_DST, state.dst.get()},
                                                  {DNNL_ARG_SCRATCHPAD, state.scratchpad.get()},
                                                  {DNNL_ARG_BIAS, bias.get(true)}}};
    BITMILL_RETURN_IF_ERROR(DnnlStatus(
        dnnl_primitive_execute(primitive.get(), state.stream.get(), has_bias ? 5 : 4, args.data()),
        "running a layer"));
    if (reorder_dst.active) {
      return Convert(reorder_dst.primitive, state.stream, state.dst, state.user_dst);
    }
    return absl::OkStatus();
  }

  static absl::Status SetHandle(const dnnl::memory& memory, void* address) {
    return DnnlStatus(dnnl_memory_set_data_handle(memory.get(), address), "placing a tensor");
  }

  absl::Status Place(const StepRun& run, LayerState& state) const {
    if (scratch >= 0) BITMILL_RETURN_IF_ERROR(SetHandle(state.scratchpad, run.buffers[scratch]));
    if (reorder_src.active) {
      BITMILL_RETURN_IF_ERROR(SetHandle(state.src, run.buffers[reorder_src.buffer]));
    }
    if (reorder_dst.active) {
      BITMILL_RETURN_IF_ERROR(SetHandle(state.dst, run.buffers[reorder_dst.buffer]));
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
  dnnl::primitive primitive;
  dnnl::memory weights, bias;
  bool has_bias = false;
  Descriptor user_src, src, dst, user_dst, scratchpad;
  Reorder reorder_src, reorder_dst;
  int32_t scratch = -1;
  std::string name;
};

Reorder MakeReorder(const dnnl::engine& engine, const Descriptor& from, const Descriptor& to,
                    size_t arena_bytes, StepBuilder& builder) {
  Reorder reorder;
  if (from == to) return reorder;
  reorder.active = true;
  const dnnl::reorder::primitive_desc descriptor(engine, from, engine, to);
  reorder.primitive = dnnl::reorder(descriptor);
  reorder.buffer = builder.AddScratch(static_cast<int64_t>(arena_bytes));
  return reorder;
}

// What both kinds of layer have in common once the primitive descriptor is known.
template <typename PrimitiveDescriptor>
void Finish(const PrimitiveDescriptor& descriptor, const Descriptor& plain_weights,
            const Tensor& weights, const std::vector<float>& bias, StepBuilder& builder,
            Layer& layer) {
  layer.src = descriptor.src_desc();
  layer.dst = descriptor.dst_desc();
  layer.scratchpad = descriptor.scratchpad_desc();
  if (layer.scratchpad.get_size() > 0) {
    layer.scratch = builder.AddScratch(static_cast<int64_t>(layer.scratchpad.get_size()));
  }
  layer.reorder_src =
      MakeReorder(layer.engine, layer.user_src, layer.src, layer.src.get_size(), builder);
  layer.reorder_dst =
      MakeReorder(layer.engine, layer.dst, layer.user_dst, layer.dst.get_size(), builder);

  layer.weights = dnnl::memory(descriptor.weights_desc(), layer.engine);
  // Read only, as above.
  dnnl::memory plain(plain_weights, layer.engine, const_cast<void*>(weights.data()));
  dnnl::stream stream(layer.engine);
  dnnl::reorder(plain, layer.weights).execute(stream, plain, layer.weights);
  if (!bias.empty()) {
    layer.has_bias = true;
    layer.bias = dnnl::memory(descriptor.bias_desc(), layer.engine);
    std::memcpy(layer.bias.get_data_handle(), bias.data(), bias.size() * sizeof(float));
  }
  stream.wait();
  const char* implementation = descriptor.impl_info_str();
  layer.name = absl::StrCat("dnnl ", implementation == nullptr ? "" : implementation);
}

Descriptor Describe(const dnnl::memory::dims& dims, Tag tag) {
  return Descriptor(dims, dnnl::memory::data_type::f32, tag);
}

Tag TagOf(const BufferLayout& layout) {
  return layout.storage == Storage::kPixelFloat ? Tag::nhwc : Tag::nchw;
}

bool IsSlow(const dnnl::convolution_forward::primitive_desc& descriptor) {
  const char* const name = descriptor.impl_info_str();
  return name == nullptr || std::strstr(name, "ref") != nullptr ||
         std::strstr(name, "gemm") != nullptr;
}

absl::StatusOr<std::unique_ptr<DnnlLayer>> MakeConv(const FloatConvOp& op,
                                                    const BufferLayout& input,
                                                    const BufferLayout& output,
                                                    StepBuilder& builder) {
  auto layer = std::make_unique<Layer>();
  const Shape& shape = op.weights->shape();
  const dnnl::memory::dims src_dims = {1, input.channels, input.height, input.width};
  const dnnl::memory::dims dst_dims = {1, output.channels, output.height, output.width};
  const bool grouped = op.groups > 1;
  dnnl::memory::dims weight_dims = {shape[0], shape[1], shape[2], shape[3]};
  if (grouped) weight_dims = {op.groups, shape[0] / op.groups, shape[1], shape[2], shape[3]};
  layer->user_src = Describe(src_dims, TagOf(input));
  layer->user_dst = Describe(dst_dims, TagOf(output));
  // oneDNN counts extra pixels between taps, and padding behind as what the output needs.
  const auto behind = [](int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t dilation,
                         int64_t before) {
    return (out - 1) * stride + (kernel - 1) * dilation + 1 - in - before;
  };
  const dnnl::memory::dims strides = {op.stride_h, op.stride_w};
  const dnnl::memory::dims dilations = {op.dilation_h - 1, op.dilation_w - 1};
  const dnnl::memory::dims before = {op.pad_top, op.pad_left};
  const dnnl::memory::dims after = {
      behind(input.height, output.height, shape[2], op.stride_h, op.dilation_h, op.pad_top),
      behind(input.width, output.width, shape[3], op.stride_w, op.dilation_w, op.pad_left)};
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const auto describe = [&](const Descriptor& src, const Descriptor& dst) {
    const Descriptor weights = Describe(weight_dims, Tag::any);
    const Descriptor bias = op.bias.empty() ? Descriptor() : Describe({output.channels}, Tag::a);
    const dnnl::convolution_forward::desc description(
        dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, src, weights, bias,
        dst, strides, dilations, before, after);
    return dnnl::convolution_forward::primitive_desc(description, attributes, layer->engine);
  };
  auto descriptor = describe(layer->user_src, layer->user_dst);
  // Layouts of its own choice cost a reorder each way, which a fast implementation repays. An image
  // of few channels is taken as it is by implementations that are made for first layers.
  const std::array<std::pair<Descriptor, Descriptor>, 3> others = {
      {{Describe(src_dims, Tag::nhwc), Describe(dst_dims, Tag::nhwc)},
       {layer->user_src, Describe(dst_dims, Tag::any)},
       {Describe(src_dims, Tag::any), Describe(dst_dims, Tag::any)}}};
  for (size_t i = 0; i < others.size() && IsSlow(descriptor); ++i) {
    descriptor = describe(others[i].first, others[i].second);
  }
  layer->primitive = dnnl::convolution_forward(descriptor);
  Finish(descriptor, Describe(weight_dims, grouped ? Tag::goihw : Tag::oihw), *op.weights, op.bias,
         builder, *layer);
  return std::unique_ptr<DnnlLayer>(std::move(layer));
}

absl::StatusOr<std::unique_ptr<DnnlLayer>> MakeDense(const FloatDenseOp& op, StepBuilder& builder) {
  auto layer = std::make_unique<Layer>();
  const int64_t outputs = op.weights->shape()[0], inputs = op.weights->shape()[1];
  layer->user_src = Describe({1, inputs}, Tag::nc);
  layer->user_dst = Describe({1, outputs}, Tag::nc);
  const Descriptor bias = op.bias.empty() ? Descriptor() : Describe({outputs}, Tag::a);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::inner_product_forward::desc description(
      dnnl::prop_kind::forward_inference, layer->user_src, Describe({outputs, inputs}, Tag::any),
      bias, layer->user_dst);
  const dnnl::inner_product_forward::primitive_desc descriptor(description, attributes,
                                                               layer->engine);
  layer->primitive = dnnl::inner_product_forward(descriptor);
  Finish(descriptor, Describe({outputs, inputs}, Tag::oi), *op.weights, op.bias, builder, *layer);
  return std::unique_ptr<DnnlLayer>(std::move(layer));
}

template <typename Make>
absl::StatusOr<std::unique_ptr<DnnlLayer>> Adapt(const StepBuilder& builder, Make make) {
  LimitIsa(builder.kernels().isa);
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
  return Adapt(builder, [&] { return MakeConv(op, input, output, builder); });
}

absl::StatusOr<std::unique_ptr<DnnlLayer>> MakeDnnlDense(const FloatDenseOp& op,
                                                         const BufferLayout& /*input*/,
                                                         const BufferLayout& /*output*/,
                                                         StepBuilder& builder) {
  return Adapt(builder, [&] { return MakeDense(op, builder); });
}

}  // namespace bitmill
