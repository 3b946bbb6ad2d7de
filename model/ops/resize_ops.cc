// Operators that change the spatial extent: Pad, Resize and Upsample (nearest), DepthToSpace,
// SpaceToDepth.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "model/ops/op_support.h"
#include "model/ops/ops.h"

namespace bitmill {
namespace {

void CopyElement(const TensorView& in, int64_t from, const MutableTensorView& out, int64_t to) {
  const int64_t size = DTypeSize(in.dtype);
  std::memcpy(out.as<std::byte>() + to * size, in.as<std::byte>() + from * size,
              static_cast<size_t>(size));
}

// ---- Pad ---------------------------------------------------------------------------------------

// pads as in ONNX: all begins, then all ends. Negative pads (cropping) are not supported.
absl::StatusOr<Shape> PadShape(absl::Span<const int64_t> shape, absl::Span<const int64_t> pads,
                               const std::string& mode) {
  if (mode != "constant" && mode != "reflect" && mode != "edge") {
    return absl::UnimplementedError(
        absl::StrCat("mode '", mode, "'; constant, reflect and edge are supported"));
  }
  if (pads.size() != 2 * shape.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(pads.size(), " pads for a tensor of rank ", shape.size()));
  }
  Shape result;
  for (size_t d = 0; d < shape.size(); ++d) {
    const int64_t begin = pads[d];
    const int64_t end = pads[shape.size() + d];
    if (begin < 0 || end < 0 || begin > (1 << 24) || end > (1 << 24)) {
      return absl::InvalidArgumentError(absl::StrCat("pads of ", begin, " and ", end));
    }
    if (mode == "reflect" && std::max(begin, end) >= shape[d] && begin + end > 0) {
      return absl::InvalidArgumentError("a reflection wider than the tensor");
    }
    if (mode == "edge" && shape[d] == 0 && begin + end > 0) {
      return absl::InvalidArgumentError("an edge of an empty tensor");
    }
    result.push_back(shape[d] + begin + end);
  }
  BITMILL_RETURN_IF_ERROR(CheckNewShape(result));
  return result;
}

// Pads of some axes -> pads of all.
absl::StatusOr<std::vector<int64_t>> SpreadPads(const std::vector<int64_t>& pads,
                                                const std::vector<int64_t>& axes, size_t rank) {
  if (pads.size() != 2 * axes.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(pads.size(), " pads for ", axes.size(), " axes"));
  }
  std::vector<int64_t> all(2 * rank, 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    BITMILL_ASSIGN_OR_RETURN(const int64_t axis,
                             NormalizeAxis(axes[i], static_cast<int64_t>(rank)));
    if (rank == 0) return absl::InvalidArgumentError("a scalar has no axis");
    all[static_cast<size_t>(axis)] = pads[i];
    all[static_cast<size_t>(axis) + rank] = pads[axes.size() + i];
  }
  return all;
}

InferResult InferPad(const Node& node, int64_t opset, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFixedSize(inputs[0]));
  std::vector<int64_t> pads;
  if (opset < 11) {
    const auto* given = AttrInts(node, "pads");
    if (given == nullptr) return absl::InvalidArgumentError("pads are missing");
    pads = *given;
    if (inputs[0].dtype != DType::kFloat32)
      BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the input"));
  } else {
    if (inputs.size() < 2) return absl::InvalidArgumentError("pads are missing");
    BITMILL_ASSIGN_OR_RETURN(pads, ConstantInts(inputs[1].constant, "pads"));
    if (inputs.size() > 2 && inputs[2].dtype != DType::kInvalid &&
        (inputs[2].dtype != inputs[0].dtype || ElementCount(inputs[2].shape) != 1)) {
      return absl::InvalidArgumentError(
          "the padding value must be one element of the input's type");
    }
    if (inputs.size() > 3 && inputs[3].dtype != DType::kInvalid) {
      BITMILL_ASSIGN_OR_RETURN(const auto axes, ConstantInts(inputs[3].constant, "axes"));
      BITMILL_ASSIGN_OR_RETURN(pads, SpreadPads(pads, axes, inputs[0].shape.size()));
    }
  }
  BITMILL_ASSIGN_OR_RETURN(Shape shape,
                           PadShape(inputs[0].shape, pads, AttrString(node, "mode", "constant")));
  return OneOutput(inputs[0].dtype, std::move(shape));
}

absl::Status EvalPad(const Node& node, int64_t opset, absl::Span<const TensorView> in,
                     absl::Span<const MutableTensorView> out) {
  const std::string mode = AttrString(node, "mode", "constant");
  const auto& shape = in[0].shape;
  const size_t rank = shape.size();
  absl::InlinedVector<int64_t, 6> begin(rank, 0);
  const bool some_axes = opset >= 11 && in.size() > 3 && in[3].data != nullptr;
  const size_t listed = some_axes ? static_cast<size_t>(in[3].elements()) : rank;
  for (size_t i = 0; i < listed; ++i) {
    const auto k = static_cast<int64_t>(i);
    int64_t axis = some_axes ? static_cast<int64_t>(NumberAt(in[3], k)) : k;
    if (axis < 0) axis += static_cast<int64_t>(rank);
    begin[static_cast<size_t>(axis)] =
        opset < 11 ? (*AttrInts(node, "pads"))[i] : static_cast<int64_t>(NumberAt(in[1], k));
  }
  const float attribute = AttrFloat(node, "value", 0.0F);
  const Shape own = RowMajorStrides(shape);
  absl::InlinedVector<int64_t, 6> index(rank, 0);
  const int64_t size = DTypeSize(in[0].dtype);
  const int64_t count = out[0].elements();
  for (int64_t i = 0; i < count; ++i) {
    int64_t from = 0;
    bool inside = true;
    for (size_t d = 0; d < rank; ++d) {
      int64_t at = index[d] - begin[d];
      if (at < 0 || at >= shape[d]) {
        if (mode == "constant")
          inside = false;
        else if (mode == "edge")
          at = std::clamp<int64_t>(at, 0, shape[d] - 1);
        else
          at = at < 0 ? -at : 2 * (shape[d] - 1) - at;
      }
      from += at * own[d];
    }
    if (inside) {
      CopyElement(in[0], from, out[0], i);
    } else if (opset >= 11 && in.size() > 2 && in[2].data != nullptr) {
      CopyElement(in[2], 0, out[0], i);
    } else if (opset < 11) {
      out[0].as<float>()[i] = attribute;
    } else {
      std::memset(out[0].as<std::byte>() + i * size, 0, static_cast<size_t>(size));
    }
    for (size_t d = rank; d-- > 0;) {
      if (++index[d] < out[0].shape[d]) break;
      index[d] = 0;
    }
  }
  return absl::OkStatus();
}

// ---- Resize, Upsample --------------------------------------------------------------------------

// Positions of the scales and sizes inputs by version.
struct ResizeInputs {
  size_t scales = 2, sizes = 3;
};

ResizeInputs ResizeInputsOf(const Node& node, int64_t opset) {
  if (node.op == "Upsample" || opset < 11) return {1, 99};
  return {2, 3};
}

bool Given(absl::Span<const InputInfo> inputs, size_t i) {
  return inputs.size() > i && inputs[i].dtype != DType::kInvalid &&
         ElementCount(inputs[i].shape) > 0;
}

absl::Status CheckResizeMode(const Node& node, int64_t opset) {
  const std::string mode = AttrString(node, "mode", "nearest");
  if (mode != "nearest") {
    return absl::UnimplementedError(absl::StrCat("mode '", mode, "'; nearest is supported"));
  }
  if (node.op == "Upsample" || opset < 11) return absl::OkStatus();
  const std::string transform = AttrString(node, "coordinate_transformation_mode", "half_pixel");
  if (transform != "half_pixel" && transform != "asymmetric" && transform != "align_corners" &&
      transform != "pytorch_half_pixel" && transform != "tf_half_pixel_for_nn") {
    return absl::UnimplementedError(absl::StrCat(
        "coordinate_transformation_mode '", transform,
        "'; half_pixel, pytorch_half_pixel, tf_half_pixel_for_nn, asymmetric and align_corners are "
        "supported"));
  }
  const std::string nearest = AttrString(node, "nearest_mode", "round_prefer_floor");
  if (nearest != "round_prefer_floor" && nearest != "round_prefer_ceil" && nearest != "floor" &&
      nearest != "ceil") {
    return absl::UnimplementedError(absl::StrCat("nearest_mode '", nearest, "'"));
  }
  if (HasAttr(node, "axes") || AttrInt(node, "antialias", 0) != 0 ||
      AttrString(node, "keep_aspect_ratio_policy", "stretch") != "stretch") {
    return absl::UnimplementedError(
        "the attributes axes, antialias and keep_aspect_ratio_policy are not supported");
  }
  return absl::OkStatus();
}

InferResult InferResize(const Node& node, int64_t opset, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFixedSize(inputs[0]));
  BITMILL_RETURN_IF_ERROR(CheckResizeMode(node, opset));
  const auto& shape = inputs[0].shape;
  const ResizeInputs at = ResizeInputsOf(node, opset);
  Shape result;
  if (Given(inputs, at.scales)) {
    BITMILL_RETURN_IF_ERROR(WantFloat(inputs[at.scales], "scales"));
    if (Given(inputs, at.sizes)) return absl::InvalidArgumentError("both scales and sizes");
  }
  if (Given(inputs, at.sizes)) {
    BITMILL_ASSIGN_OR_RETURN(const auto sizes, ConstantInts(inputs[at.sizes].constant, "sizes"));
    result = ToShape(sizes);
  } else {
    std::vector<float> scales;
    if (Given(inputs, at.scales)) {
      const Tensor* constant = inputs[at.scales].constant;
      if (constant == nullptr) {
        return absl::InvalidArgumentError("scales must be known when the model is loaded");
      }
      scales.assign(constant->span<float>().begin(), constant->span<float>().end());
    } else if (const auto* given = AttrFloats(node, "scales")) {
      scales = *given;
    }
    if (scales.size() != shape.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(scales.size(), " scales for a tensor of rank ", shape.size()));
    }
    for (size_t d = 0; d < shape.size(); ++d) {
      const double size = std::floor(static_cast<double>(shape[d]) * scales[d]);
      if (!(scales[d] > 0) || !(size < double(1 << 24))) {
        return absl::InvalidArgumentError(absl::StrCat("a scale of ", scales[d]));
      }
      result.push_back(static_cast<int64_t>(size));
    }
  }
  if (result.size() != shape.size() || !IsSaneShape(result) || ElementCount(result) < 1 ||
      ElementCount(shape) < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot resize ", ShapeToString(shape), " to ", ShapeToString(result)));
  }
  return OneOutput(inputs[0].dtype, std::move(result));
}

int64_t NearestSource(const std::string& transform, const std::string& nearest, int64_t out,
                      int64_t out_size, int64_t in_size, double scale) {
  double x = 0;
  const auto o = static_cast<double>(out);
  if (transform == "asymmetric")
    x = o / scale;
  else if (transform == "align_corners") {
    x = out_size == 1 ? 0.0
                      : o * static_cast<double>(in_size - 1) / static_cast<double>(out_size - 1);
  } else if (transform == "pytorch_half_pixel" && out_size == 1)
    x = 0.0;
  else
    x = (o + 0.5) / scale - (transform == "tf_half_pixel_for_nn" ? 0.0 : 0.5);
  double at = 0;
  if (nearest == "floor")
    at = std::floor(x);
  else if (nearest == "ceil")
    at = std::ceil(x);
  else if (nearest == "round_prefer_ceil")
    at = std::floor(x + 0.5);
  else
    at = std::ceil(x - 0.5);
  return std::clamp<int64_t>(static_cast<int64_t>(at), 0, in_size - 1);
}

absl::Status EvalResize(const Node& node, int64_t opset, absl::Span<const TensorView> in,
                        absl::Span<const MutableTensorView> out) {
  const bool old = node.op == "Upsample" || opset < 11;
  const std::string transform =
      old ? "asymmetric" : AttrString(node, "coordinate_transformation_mode", "half_pixel");
  const std::string nearest =
      old ? "floor" : AttrString(node, "nearest_mode", "round_prefer_floor");
  const ResizeInputs at = ResizeInputsOf(node, opset);
  const bool by_scale = in.size() > at.scales && in[at.scales].data != nullptr &&
                        in[at.scales].elements() == static_cast<int64_t>(in[0].shape.size());
  const size_t rank = in[0].shape.size();
  const auto* attribute = AttrFloats(node, "scales");
  if (attribute != nullptr && attribute->size() != rank) attribute = nullptr;
  const Shape own = RowMajorStrides(in[0].shape);
  absl::InlinedVector<int64_t, 6> index(rank, 0);
  const int64_t count = out[0].elements();
  for (int64_t i = 0; i < count; ++i) {
    int64_t from = 0;
    for (size_t d = 0; d < rank; ++d) {
      double scale = static_cast<double>(out[0].shape[d]) / static_cast<double>(in[0].shape[d]);
      if (by_scale)
        scale = in[at.scales].as<float>()[d];
      else if (attribute != nullptr)
        scale = (*attribute)[d];
      from += own[d] *
              NearestSource(transform, nearest, index[d], out[0].shape[d], in[0].shape[d], scale);
    }
    CopyElement(in[0], from, out[0], i);
    for (size_t d = rank; d-- > 0;) {
      if (++index[d] < out[0].shape[d]) break;
      index[d] = 0;
    }
  }
  return absl::OkStatus();
}

// ---- DepthToSpace, SpaceToDepth ----------------------------------------------------------------

absl::StatusOr<int64_t> BlockOf(const Node& node, const InputInfo& input) {
  BITMILL_RETURN_IF_ERROR(WantFixedSize(input));
  BITMILL_RETURN_IF_ERROR(WantRank(input, 4, "the input"));
  const int64_t block = AttrInt(node, "blocksize", 0);
  if (block < 1 || block > 4096) {
    return absl::InvalidArgumentError(absl::StrCat("blocksize is ", block));
  }
  return block;
}

InferResult InferDepthToSpace(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_ASSIGN_OR_RETURN(const int64_t b, BlockOf(node, inputs[0]));
  const std::string mode = AttrString(node, "mode", "DCR");
  const auto& s = inputs[0].shape;
  if (s[1] % (b * b) != 0 || (mode != "DCR" && mode != "CRD")) {
    return absl::InvalidArgumentError(
        absl::StrCat(s[1], " channels with blocksize ", b, " and mode ", mode));
  }
  return OneOutput(inputs[0].dtype, {s[0], s[1] / (b * b), s[2] * b, s[3] * b});
}

absl::Status EvalDepthToSpace(const Node& node, int64_t, absl::Span<const TensorView> in,
                              absl::Span<const MutableTensorView> out) {
  const int64_t b = AttrInt(node, "blocksize", 0);
  const bool crd = AttrString(node, "mode", "DCR") == "CRD";
  const auto& to = out[0].shape;
  const auto& from = in[0].shape;
  int64_t i = 0;
  for (int64_t n = 0; n < to[0]; ++n) {
    for (int64_t c = 0; c < to[1]; ++c) {
      for (int64_t y = 0; y < to[2]; ++y) {
        for (int64_t x = 0; x < to[3]; ++x, ++i) {
          const int64_t tap = y % b * b + x % b;
          const int64_t channel = crd ? c * b * b + tap : tap * to[1] + c;
          CopyElement(in[0], ((n * from[1] + channel) * from[2] + y / b) * from[3] + x / b, out[0],
                      i);
        }
      }
    }
  }
  return absl::OkStatus();
}

InferResult InferSpaceToDepth(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_ASSIGN_OR_RETURN(const int64_t b, BlockOf(node, inputs[0]));
  const auto& s = inputs[0].shape;
  if (s[2] % b != 0 || s[3] % b != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("an image of ", s[2], " by ", s[3], " with blocksize ", b));
  }
  return OneOutput(inputs[0].dtype, {s[0], s[1] * b * b, s[2] / b, s[3] / b});
}

absl::Status EvalSpaceToDepth(const Node& node, int64_t, absl::Span<const TensorView> in,
                              absl::Span<const MutableTensorView> out) {
  const int64_t b = AttrInt(node, "blocksize", 0);
  const auto& to = out[0].shape;
  const auto& from = in[0].shape;
  int64_t i = 0;
  for (int64_t n = 0; n < to[0]; ++n) {
    for (int64_t c = 0; c < to[1]; ++c) {
      for (int64_t y = 0; y < to[2]; ++y) {
        for (int64_t x = 0; x < to[3]; ++x, ++i) {
          const int64_t tap = c / from[1];
          const int64_t row = y * b + tap / b;
          const int64_t column = x * b + tap % b;
          CopyElement(in[0], ((n * from[1] + c % from[1]) * from[2] + row) * from[3] + column,
                      out[0], i);
        }
      }
    }
  }
  return absl::OkStatus();
}

constexpr OpDef kOps[] = {
    {"Pad", 1, 4, 1, 1, InferPad, EvalPad},
    {"Resize", 1, 4, 1, 1, InferResize, EvalResize},
    {"Upsample", 1, 2, 1, 1, InferResize, EvalResize},
    {"DepthToSpace", 1, 1, 1, 1, InferDepthToSpace, EvalDepthToSpace},
    {"SpaceToDepth", 1, 1, 1, 1, InferSpaceToDepth, EvalSpaceToDepth},
};

}  // namespace

absl::Span<const OpDef> ResizeOps() { return kOps; }

}  // namespace bitmill
