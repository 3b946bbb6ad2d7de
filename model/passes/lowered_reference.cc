#include "model/passes/lowered_reference.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/half.h"
#include "base/status_macros.h"
#include "model/ops/op_registry.h"

namespace bitmill {
namespace {

struct Image {
  int64_t channels = 1, height = 1, width = 1;
  explicit Image(const Shape& shape)
      : channels(shape.size() > 1 ? shape[1] : 1),
        height(shape.size() > 2 ? shape[2] : 1),
        width(1) {
    for (size_t d = 3; d < shape.size(); ++d) width *= shape[d];
  }
  int64_t pixels() const { return height * width; }
  // Index of an element, -1 outside of the image.
  int64_t At(int64_t c, int64_t y, int64_t x) const {
    if (y < 0 || y >= height || x < 0 || x >= width) return -1;
    return (c * height + y) * width + x;
  }
};

// The input of a convolution as numbers, with its border around it: as much as all windows read.
template <typename T>
class BorderedImage {
 public:
  // `read(i)` is element i of the image.
  template <typename Op, typename Read>
  BorderedImage(const Op& op, const Image& image, const Image& result, T border, const Read& read)
      : height_((result.height - 1) * op.stride_h + (op.weights->shape()[2] - 1) * op.dilation_h +
                1),
        width_((result.width - 1) * op.stride_w + (op.weights->shape()[3] - 1) * op.dilation_w + 1),
        elements_(static_cast<size_t>(image.channels * height_ * width_), border) {
    const int64_t rows = std::min(image.height, height_ - op.pad_top);
    const int64_t columns = std::min(image.width, width_ - op.pad_left);
    for (int64_t c = 0; c < image.channels; ++c) {
      for (int64_t y = 0; y < rows; ++y) {
        const auto to = static_cast<size_t>((c * height_ + y + op.pad_top) * width_ + op.pad_left);
        for (int64_t x = 0; x < columns; ++x) {
          elements_[to + static_cast<size_t>(x)] = read(static_cast<size_t>(image.At(c, y, x)));
        }
      }
    }
  }
  // From element (y, x) of a channel on, to the end of the row.
  absl::Span<const T> Row(int64_t c, int64_t y, int64_t x) const {
    const auto at = static_cast<size_t>((c * height_ + y) * width_ + x);
    return absl::MakeConstSpan(elements_).subspan(at, static_cast<size_t>(width_ - x));
  }

 private:
  int64_t height_, width_;
  std::vector<T> elements_;
};

// finish(o, pixel, start(o) + the products of the pixel's window). Sums of a row of outputs grow
// side by side, each in the order channel, row, column of its window.
template <typename Sum, typename Op, typename T, typename Weight, typename Start, typename Finish>
void Convolve(const Op& op, const BorderedImage<T>& image, const Image& result,
              absl::Span<const Weight> weights, const Start& start, const Finish& finish) {
  const Shape& kernel = op.weights->shape();
  const int64_t channels = kernel[1], rows = kernel[2], columns = kernel[3];
  const auto step = static_cast<size_t>(op.stride_w);
  std::vector<Sum> sums(static_cast<size_t>(result.width));
  for (int64_t o = 0; o < result.channels; ++o) {
    const int64_t first = o / (kernel[0] / op.groups) * channels;
    for (int64_t y = 0; y < result.height; ++y) {
      std::fill(sums.begin(), sums.end(), start(o));
      auto w = static_cast<size_t>(o * channels * rows * columns);
      for (int64_t c = first; c < first + channels; ++c) {
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < columns; ++j, ++w) {
            const T* from =
                image.Row(c, y * op.stride_h + i * op.dilation_h, j * op.dilation_w).data();
            const Sum factor{weights[w]};
            size_t x = 0;
            for (Sum& sum : sums) {
              sum += factor * from[x];
              x += step;
            }
          }
        }
      }
      for (size_t x = 0; x < sums.size(); ++x) {
        finish(o, y * result.width + static_cast<int64_t>(x), sums[x]);
      }
    }
  }
}

int32_t CountReached(const float* thresholds, int64_t count, float x) {
  int32_t reached = 0;
  for (int64_t i = 0; i < count; ++i) reached += x >= thresholds[i] ? 1 : 0;
  return reached;
}

// Element i of a tensor that a QuantizeOp may read.
float QuantizerInput(const Tensor& tensor, size_t i) {
  switch (tensor.dtype()) {
    case DType::kInt8:
      return static_cast<float>(tensor.span<int8_t>()[i]);
    case DType::kUInt8:
      return static_cast<float>(tensor.span<uint8_t>()[i]);
    case DType::kFloat16:
      return HalfToFloat(tensor.span<uint16_t>()[i]);
    case DType::kBFloat16:
      return BFloat16ToFloat(tensor.span<uint16_t>()[i]);
    default:
      return tensor.span<float>()[i];
  }
}

void Run(const QuantizeOp& op, const Value& out, const Tensor& input, Tensor& output) {
  const Image image(out.shape);
  for (int64_t i = 0; i < output.elements(); ++i) {
    const int64_t c = i / image.pixels();
    const float x = EvaluateChain(op.chain, QuantizerInput(input, static_cast<size_t>(i)), c);
    int32_t code = 0;
    if (!op.bit_thresholds.empty()) {
      const size_t row = op.bit_thresholds.size() == 1 ? 0 : static_cast<size_t>(c);
      code = x >= op.bit_thresholds[row] ? 0 : 1;
      if (!op.bit_invert.empty()) code ^= op.bit_invert[row];
    } else if (!op.level_thresholds.empty()) {
      const int64_t steps = out.code.levels - 1;
      code = CountReached(op.level_thresholds.data() + (op.level_channels == 1 ? 0 : c * steps),
                          steps, x);
    } else {
      code = EvaluateQuantizer(op.quantizer, x);
    }
    output.span<int32_t>()[static_cast<size_t>(i)] = code;
  }
}

void RunDequantize(const CodeInfo& info, const Tensor& input, Tensor& output) {
  for (size_t i = 0; i < input.span<int32_t>().size(); ++i) {
    const int32_t code = input.span<int32_t>()[i];
    const float real = info.kind == CodeKind::kBits ? (code != 0 ? -1.0F : 1.0F)
                                                    : static_cast<float>(code - info.zero_point);
    output.span<float>()[i] = info.scale * real;
  }
}

void Run(const LowBitConvOp& op, const Value& in, const Value& out, const Tensor& input,
         Tensor& output) {
  const Image image(in.shape);
  const Image result(out.shape);
  const bool bits = in.code.kind == CodeKind::kBits;
  const absl::Span<const int8_t> weights = op.weights->span<int8_t>();
  const absl::Span<const int32_t> codes = input.span<int32_t>();
  const int32_t border = op.padding == Padding::kZero      ? 0
                         : op.padding == Padding::kPlusOne ? 1
                                                           : -1;
  const BorderedImage<int32_t> numbers(op, image, result, border, [&](size_t i) {
    return bits ? 1 - 2 * codes[i] : codes[i] - in.code.zero_point;
  });
  const auto finish = [&](int64_t o, int64_t pixel, int64_t acc) {
    const auto channel = static_cast<size_t>(o);
    const auto at = static_cast<size_t>(o * result.pixels() + pixel);
    if (op.epilogue == LowBitConvOp::Epilogue::kThresholds) {
      const int64_t steps = out.code.levels - 1;
      const int64_t value = !op.flip.empty() && op.flip[channel] != 0 ? -acc : acc;
      int32_t reached = 0;
      for (int64_t i = 0; i < steps; ++i) {
        const int32_t t = op.thresholds[static_cast<size_t>(o * steps + i)];
        const bool never = t == std::numeric_limits<int32_t>::max();
        reached += !never && value >= t ? 1 : 0;
      }
      output.span<int32_t>()[at] = out.code.kind == CodeKind::kBits ? 1 - reached : reached;
      return;
    }
    const float scaled = static_cast<float>(acc) * op.scale[channel];
    const float x = EvaluateChain(op.chain, scaled + op.bias[channel], o);
    if (op.epilogue == LowBitConvOp::Epilogue::kRequantize) {
      output.span<int32_t>()[at] = EvaluateQuantizer(op.quantizer, x);
    } else {
      output.span<float>()[at] = x;
    }
  };
  Convolve<int64_t>(
      op, numbers, result, weights, [](int64_t) { return int64_t{0}; }, finish);
}

void Run(const LowBitMaxPoolOp& op, const Value& in, const Value& out, const Tensor& input,
         Tensor& output) {
  const Image image(in.shape);
  const Image result(out.shape);
  const bool bits = in.code.kind == CodeKind::kBits;
  for (int64_t c = 0; c < result.channels; ++c) {
    const bool lowest = !op.minimum.empty() && op.minimum[static_cast<size_t>(c)] != 0;
    for (int64_t p = 0; p < result.pixels(); ++p) {
      bool any = false;
      int32_t best = 0;
      for (int64_t i = 0; i < op.kernel_h; ++i) {
        for (int64_t j = 0; j < op.kernel_w; ++j) {
          const int64_t at =
              image.At(c, p / result.width * op.stride_h - op.pad_top + i * op.dilation_h,
                       p % result.width * op.stride_w - op.pad_left + j * op.dilation_w);
          if (at < 0) continue;
          const int32_t code = input.span<int32_t>()[static_cast<size_t>(at)];
          // A set bit is the smaller value.
          const bool better = (bits != lowest) ? code < best : code > best;
          if (!any || better) best = code;
          any = true;
        }
      }
      output.span<int32_t>()[static_cast<size_t>(c * result.pixels() + p)] = best;
    }
  }
}

// Stored as the logical shape says, the image is a matrix of channels and pixels.
void RunTranspose(const Value& in, const Tensor& input, Tensor& output) {
  const int64_t channels = in.shape[1];
  const int64_t pixels = in.shape[3];
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t p = 0; p < pixels; ++p) {
      output.span<int32_t>()[static_cast<size_t>(p * channels + c)] =
          input.span<int32_t>()[static_cast<size_t>(c * pixels + p)];
    }
  }
}

void Run(const ElementwiseOp& op, const Value& out, const Tensor& input, Tensor& output) {
  const int64_t pixels = Image(out.shape).pixels();
  for (int64_t i = 0; i < output.elements(); ++i) {
    const auto at = static_cast<size_t>(i);
    const int64_t channel = out.shape.size() > 1 ? i / pixels : 0;
    output.span<float>()[at] = EvaluateChain(op.chain, input.span<float>()[at], channel);
  }
}

void Run(const FloatConvOp& op, const Value& in, const Value& out, const Tensor& input,
         Tensor& output) {
  const Image result(out.shape);
  const absl::Span<const float> x = input.span<float>();
  const BorderedImage<float> image(op, Image(in.shape), result, 0.0F,
                                   [x](size_t i) { return x[i]; });
  Convolve<double>(
      op, image, result, op.weights->span<float>(),
      [&op](int64_t o) { return op.bias.empty() ? 0.0 : op.bias[static_cast<size_t>(o)]; },
      [&](int64_t o, int64_t pixel, double sum) {
        output.span<float>()[static_cast<size_t>(o * result.pixels() + pixel)] =
            EvaluateChain(op.chain, static_cast<float>(sum), o);
      });
}

void Run(const FloatDenseOp& op, const Tensor& input, Tensor& output) {
  const absl::Span<const float> x = input.span<float>();
  for (size_t o = 0; o < output.span<float>().size(); ++o) {
    double sum = op.bias.empty() ? 0.0 : op.bias[o];
    for (size_t k = 0; k < x.size(); ++k) {
      sum += static_cast<double>(op.weights->span<float>()[o * x.size() + k]) * x[k];
    }
    output.span<float>()[o] =
        EvaluateChain(op.chain, static_cast<float>(sum), static_cast<int64_t>(o));
  }
}

absl::Status RunOnnx(const Graph& graph, const Node& node, std::vector<Tensor>& values) {
  const OpDef* const def = FindOp(node.domain, node.op);
  if (def == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat(DescribeNode(graph, node), " has no reference implementation"));
  }
  std::vector<TensorView> inputs;
  for (const ValueId id : node.inputs) {
    if (id == kNoValue) {
      inputs.emplace_back();
    } else if (const Value& value = graph.value(id); value.constant != nullptr) {
      inputs.push_back(value.constant->view());
    } else {
      inputs.push_back(values[static_cast<size_t>(id)].view());
    }
  }
  std::vector<MutableTensorView> outputs;
  outputs.reserve(node.outputs.size());
  for (const ValueId id : node.outputs) {
    outputs.push_back(id == kNoValue ? MutableTensorView{}
                                     : values[static_cast<size_t>(id)].mutable_view());
  }
  return def->eval(node, graph.opset, inputs, outputs);
}

absl::Status RunNode(const Graph& graph, const Node& node, std::vector<Tensor>& values) {
  for (const ValueId id : node.outputs) {
    if (id == kNoValue) continue;
    const Value& value = graph.value(id);
    const DType dtype = value.code.kind == CodeKind::kNone ? value.dtype : DType::kInt32;
    BITMILL_ASSIGN_OR_RETURN(values[static_cast<size_t>(id)], Tensor::Create(dtype, value.shape));
  }
  if (std::holds_alternative<std::monostate>(node.lowered)) return RunOnnx(graph, node, values);
  const Value& in = graph.value(node.inputs[0]);
  const Value& out = graph.value(node.outputs[0]);
  const Tensor& input =
      in.constant != nullptr ? *in.constant : values[static_cast<size_t>(node.inputs[0])];
  Tensor& output = values[static_cast<size_t>(node.outputs[0])];
  if (const auto* quantize = std::get_if<QuantizeOp>(&node.lowered)) {
    Run(*quantize, out, input, output);
  } else if (std::holds_alternative<DequantizeOp>(node.lowered)) {
    RunDequantize(in.code, input, output);
  } else if (const auto* conv = std::get_if<LowBitConvOp>(&node.lowered)) {
    Run(*conv, in, out, input, output);
  } else if (const auto* pool = std::get_if<LowBitMaxPoolOp>(&node.lowered)) {
    Run(*pool, in, out, input, output);
  } else if (std::holds_alternative<LowBitTransposeOp>(node.lowered)) {
    RunTranspose(in, input, output);
  } else if (const auto* elementwise = std::get_if<ElementwiseOp>(&node.lowered)) {
    Run(*elementwise, out, input, output);
  } else if (const auto* float_conv = std::get_if<FloatConvOp>(&node.lowered)) {
    Run(*float_conv, in, out, input, output);
  } else if (const auto* dense = std::get_if<FloatDenseOp>(&node.lowered)) {
    Run(*dense, input, output);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Tensor>> RunLoweredValues(const Graph& lowered,
                                                     absl::Span<const TensorView> inputs) {
  if (inputs.size() != lowered.inputs.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(inputs.size(), " inputs, the graph has ", lowered.inputs.size()));
  }
  std::vector<Tensor> values(lowered.values.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ValueId id = lowered.inputs[i].value;
    const Value& value = lowered.value(id);
    if (inputs[i].dtype != value.dtype || inputs[i].shape != absl::MakeConstSpan(value.shape)) {
      return absl::InvalidArgumentError(
          absl::StrCat("input '", lowered.inputs[i].name, "' is ", ShapeToString(inputs[i].shape),
                       ", not ", ShapeToString(value.shape), ", or of another type"));
    }
    BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(value.dtype, value.shape));
    std::copy_n(static_cast<const std::byte*>(inputs[i].data), tensor.bytes(),
                static_cast<std::byte*>(tensor.data()));
    values[static_cast<size_t>(id)] = std::move(tensor);
  }
  for (const Node& node : lowered.nodes) {
    BITMILL_RETURN_IF_ERROR(RunNode(lowered, node, values));
  }
  return values;
}

absl::StatusOr<std::vector<Tensor>> RunLoweredReference(const Graph& lowered,
                                                        absl::Span<const TensorView> inputs) {
  BITMILL_ASSIGN_OR_RETURN(const std::vector<Tensor> values, RunLoweredValues(lowered, inputs));
  std::vector<Tensor> outputs;
  for (const GraphPort& port : lowered.outputs) {
    const Value& value = lowered.value(port.value);
    outputs.push_back(value.constant != nullptr ? value.constant->Clone()
                                                : values[static_cast<size_t>(port.value)].Clone());
  }
  return outputs;
}

}  // namespace bitmill
