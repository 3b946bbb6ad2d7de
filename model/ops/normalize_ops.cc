// BatchNormalization (inference), Softmax and LogSoftmax.
#include <algorithm>
#include <cmath>

#include "model/ops/op_support.h"
#include "model/ops/ops.h"

namespace bitmill {
namespace {

int64_t ChannelAxis(const Node& node, size_t rank) {
  if (node.domain == "qonnx.custom_op.channels_last") return static_cast<int64_t>(rank) - 1;
  return rank < 2 ? 0 : 1;
}

InferResult InferBatchNormalization(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  for (const InputInfo& input : inputs) BITMILL_RETURN_IF_ERROR(WantFloat(input, "an input"));
  if (AttrInt(node, "training_mode", 0) != 0) {
    return absl::UnimplementedError("training_mode is not supported");
  }
  if (AttrInt(node, "spatial", 1) == 0) return absl::UnimplementedError("spatial is 0");
  if (inputs[0].shape.empty()) return absl::InvalidArgumentError("the input is a scalar");
  const int64_t channels =
      inputs[0].shape[static_cast<size_t>(ChannelAxis(node, inputs[0].shape.size()))];
  for (size_t i = 1; i < 5; ++i) {
    if (ElementCount(inputs[i].shape) != channels) {
      return absl::InvalidArgumentError(absl::StrCat("input ", i, " has shape ",
                                                     ShapeToString(inputs[i].shape), " for ",
                                                     channels, " channels"));
    }
  }
  return OneOutput(DType::kFloat32, ToShape(inputs[0].shape));
}

absl::Status EvalBatchNormalization(const Node& node, int64_t, absl::Span<const TensorView> in,
                                    absl::Span<const MutableTensorView> out) {
  const auto& shape = in[0].shape;
  const auto axis = static_cast<size_t>(ChannelAxis(node, shape.size()));
  const int64_t channels = shape[axis];
  const int64_t inner = ElementCount(shape.subspan(axis + 1));
  const float epsilon = AttrFloat(node, "epsilon", 1e-5F);
  const float* x = in[0].as<float>();
  float* to = out[0].as<float>();
  const int64_t count = in[0].elements();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t c = i / inner % channels;
    const float deviation = std::sqrt(in[4].as<float>()[c] + epsilon);
    to[i] = (x[i] - in[3].as<float>()[c]) / deviation * in[1].as<float>()[c] + in[2].as<float>()[c];
  }
  return absl::OkStatus();
}

// Before opset 13 the input is seen as a matrix split at `axis` (default 1); since then one axis
// (default the last) is normalized.
struct SoftmaxGeometry {
  int64_t outer = 1, size = 1, inner = 1;
};

absl::StatusOr<SoftmaxGeometry> SoftmaxOf(const Node& node, int64_t opset,
                                          absl::Span<const int64_t> shape) {
  const bool matrix = opset < 13;
  BITMILL_ASSIGN_OR_RETURN(const int64_t axis, NormalizeAxis(AttrInt(node, "axis", matrix ? 1 : -1),
                                                             static_cast<int64_t>(shape.size())));
  const auto at = static_cast<size_t>(axis);
  SoftmaxGeometry g;
  g.outer = ElementCount(shape.first(at));
  if (matrix) {
    g.size = ElementCount(shape.subspan(at));
  } else {
    g.size = shape[at];
    g.inner = ElementCount(shape.subspan(at + 1));
  }
  return g;
}

InferResult InferSoftmax(const Node& node, int64_t opset, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the input"));
  if (inputs[0].shape.empty()) return absl::InvalidArgumentError("the input is a scalar");
  BITMILL_RETURN_IF_ERROR(SoftmaxOf(node, opset, inputs[0].shape).status());
  return OneOutput(DType::kFloat32, ToShape(inputs[0].shape));
}

template <bool kLog>
absl::Status EvalSoftmax(const Node& node, int64_t opset, absl::Span<const TensorView> in,
                         absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const SoftmaxGeometry g, SoftmaxOf(node, opset, in[0].shape));
  for (int64_t o = 0; o < g.outer; ++o) {
    for (int64_t i = 0; i < g.inner; ++i) {
      const float* x = in[0].as<float>() + o * g.size * g.inner + i;
      float* to = out[0].as<float>() + o * g.size * g.inner + i;
      float largest = -std::numeric_limits<float>::infinity();
      for (int64_t k = 0; k < g.size; ++k) largest = std::max(largest, x[k * g.inner]);
      float sum = 0.0F;
      for (int64_t k = 0; k < g.size; ++k) {
        to[k * g.inner] = std::exp(x[k * g.inner] - largest);
        sum += to[k * g.inner];
      }
      for (int64_t k = 0; k < g.size; ++k) {
        if constexpr (kLog)
          to[k * g.inner] = x[k * g.inner] - largest - std::log(sum);
        else
          to[k * g.inner] /= sum;
      }
    }
  }
  return absl::OkStatus();
}

constexpr OpDef kOps[] = {
    {"BatchNormalization", 5, 5, 1, 1, InferBatchNormalization, EvalBatchNormalization},
    {"Softmax", 1, 1, 1, 1, InferSoftmax, EvalSoftmax<false>},
    {"LogSoftmax", 1, 1, 1, 1, InferSoftmax, EvalSoftmax<true>},
};

}  // namespace

absl::Span<const OpDef> NormalizeOps() { return kOps; }

}  // namespace bitmill
