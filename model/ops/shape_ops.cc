// Constants, shape arithmetic and operators that rearrange a tensor as a whole: any element type
// of fixed size.
#include <algorithm>
#include <cstring>

#include "model/ops/op_support.h"
#include "model/ops/ops.h"

namespace bitmill {
namespace {

void CopyAll(const TensorView& from, const MutableTensorView& to) {
  const auto bytes = static_cast<size_t>(from.elements() * DTypeSize(from.dtype));
  if (bytes > 0) std::memcpy(to.data, from.data, bytes);
}

absl::Status EvalCopy(const Node&, int64_t, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  CopyAll(in[0], out[0]);
  return absl::OkStatus();
}

InferResult InferIdentity(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFixedSize(inputs[0]));
  return OneOutput(inputs[0].dtype, ToShape(inputs[0].shape));
}

// Inference only: the input, and a mask that keeps everything.
InferResult InferDropout(const Node& node, int64_t opset, absl::Span<const InputInfo> inputs) {
  if (inputs.size() > 2 && inputs[2].dtype != DType::kInvalid) {
    const Tensor* training = inputs[2].constant;
    if (training == nullptr || training->dtype() != DType::kBool || training->elements() != 1 ||
        training->span<uint8_t>()[0] != 0) {
      return absl::UnimplementedError("training_mode is not supported");
    }
  }
  BITMILL_ASSIGN_OR_RETURN(std::vector<TensorType> types, InferIdentity(node, opset, inputs));
  types.push_back({DType::kBool, ToShape(inputs[0].shape)});
  return types;
}

absl::Status EvalDropout(const Node&, int64_t, absl::Span<const TensorView> in,
                         absl::Span<const MutableTensorView> out) {
  if (out[0].data != nullptr) CopyAll(in[0], out[0]);
  if (out.size() > 1 && out[1].data != nullptr) {
    std::memset(out[1].data, 1, static_cast<size_t>(out[1].elements()));
  }
  return absl::OkStatus();
}

// ---- constants ---------------------------------------------------------------------------------

InferResult InferConstant(const Node& node, int64_t, absl::Span<const InputInfo>) {
  if (const Tensor* value = AttrTensor(node, "value")) {
    return OneOutput(value->dtype(), value->shape());
  }
  if (HasAttr(node, "value_float")) return OneOutput(DType::kFloat32, {});
  if (HasAttr(node, "value_int")) return OneOutput(DType::kInt64, {});
  if (const auto* ints = AttrInts(node, "value_ints")) {
    return OneOutput(DType::kInt64, {static_cast<int64_t>(ints->size())});
  }
  if (const auto* floats = AttrFloats(node, "value_floats")) {
    return OneOutput(DType::kFloat32, {static_cast<int64_t>(floats->size())});
  }
  return absl::UnimplementedError("a Constant without value, value_int(s) or value_float(s)");
}

absl::Status EvalConstant(const Node& node, int64_t, absl::Span<const TensorView>,
                          absl::Span<const MutableTensorView> out) {
  if (const Tensor* value = AttrTensor(node, "value")) {
    CopyAll(value->view(), out[0]);
  } else if (HasAttr(node, "value_float")) {
    *out[0].as<float>() = AttrFloat(node, "value_float", 0);
  } else if (HasAttr(node, "value_int")) {
    *out[0].as<int64_t>() = AttrInt(node, "value_int", 0);
  } else if (const auto* ints = AttrInts(node, "value_ints")) {
    std::copy(ints->begin(), ints->end(), out[0].as<int64_t>());
  } else if (const auto* floats = AttrFloats(node, "value_floats")) {
    std::copy(floats->begin(), floats->end(), out[0].as<float>());
  }
  return absl::OkStatus();
}

InferResult InferConstantOfShape(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_ASSIGN_OR_RETURN(const auto dims, ConstantInts(inputs[0].constant, "the shape"));
  BITMILL_RETURN_IF_ERROR(CheckNewShape(dims));
  const Tensor* value = AttrTensor(node, "value");
  if (value != nullptr && value->elements() != 1) {
    return absl::InvalidArgumentError("value must hold one element");
  }
  return OneOutput(value != nullptr ? value->dtype() : DType::kFloat32, ToShape(dims));
}

absl::Status EvalConstantOfShape(const Node& node, int64_t, absl::Span<const TensorView>,
                                 absl::Span<const MutableTensorView> out) {
  const auto size = static_cast<size_t>(DTypeSize(out[0].dtype));
  const Tensor* value = AttrTensor(node, "value");
  auto* to = out[0].as<std::byte>();
  for (int64_t i = 0; i < out[0].elements(); ++i) {
    if (value != nullptr)
      std::memcpy(to + static_cast<size_t>(i) * size, value->data(), size);
    else
      std::memset(to + static_cast<size_t>(i) * size, 0, size);
  }
  return absl::OkStatus();
}

// ---- Shape -------------------------------------------------------------------------------------

struct Range {
  int64_t begin = 0, end = 0;
};

Range ShapeRange(const Node& node, int64_t rank) {
  const auto clamp = [rank](int64_t x) {
    return std::clamp<int64_t>(x < 0 ? x + rank : x, 0, rank);
  };
  Range range{clamp(AttrInt(node, "start", 0)), clamp(AttrInt(node, "end", rank))};
  range.end = std::max(range.begin, range.end);
  return range;
}

InferResult InferShape(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  const Range range = ShapeRange(node, static_cast<int64_t>(inputs[0].shape.size()));
  return OneOutput(DType::kInt64, {range.end - range.begin});
}

absl::Status EvalShape(const Node& node, int64_t, absl::Span<const TensorView> in,
                       absl::Span<const MutableTensorView> out) {
  const Range range = ShapeRange(node, static_cast<int64_t>(in[0].shape.size()));
  for (int64_t i = range.begin; i < range.end; ++i) {
    out[0].as<int64_t>()[i - range.begin] = in[0].shape[static_cast<size_t>(i)];
  }
  return absl::OkStatus();
}

InferResult InferSize(const Node&, int64_t, absl::Span<const InputInfo>) {
  return OneOutput(DType::kInt64, {});
}

absl::Status EvalSize(const Node&, int64_t, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  *out[0].as<int64_t>() = in[0].elements();
  return absl::OkStatus();
}

// ---- same elements, other shape ----------------------------------------------------------------

InferResult Reshaped(const InputInfo& input, Shape shape) {
  BITMILL_RETURN_IF_ERROR(WantFixedSize(input));
  BITMILL_RETURN_IF_ERROR(CheckNewShape(shape));
  if (ElementCount(shape) != ElementCount(input.shape)) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot reshape ", ShapeToString(input.shape), " to ", ShapeToString(shape)));
  }
  return OneOutput(input.dtype, std::move(shape));
}

InferResult InferReshape(const Node& node, int64_t opset, absl::Span<const InputInfo> inputs) {
  std::vector<int64_t> dims;
  if (opset < 5) {
    const auto* given = AttrInts(node, "shape");
    if (given == nullptr) return absl::InvalidArgumentError("shape is missing");
    dims = *given;
  } else {
    if (inputs.size() < 2) return absl::InvalidArgumentError("the shape is missing");
    BITMILL_ASSIGN_OR_RETURN(dims, ConstantInts(inputs[1].constant, "the shape"));
  }
  const bool allow_zero = AttrInt(node, "allowzero", 0) != 0;
  Shape shape;
  int64_t known = 1;
  int unknown = -1;
  for (size_t i = 0; i < dims.size(); ++i) {
    int64_t dim = dims[i];
    if (dim == 0 && !allow_zero) {
      if (i >= inputs[0].shape.size()) {
        return absl::InvalidArgumentError("a 0 in the shape has no dimension to copy");
      }
      dim = inputs[0].shape[i];
    }
    if (dim == -1) {
      if (unknown >= 0) return absl::InvalidArgumentError("the shape has more than one -1");
      unknown = static_cast<int>(i);
      shape.push_back(1);
      continue;
    }
    const auto product = CheckedMul(known, dim);
    if (!product) return absl::InvalidArgumentError(absl::StrCat("dimension ", dim));
    known = *product;
    shape.push_back(dim);
  }
  if (unknown >= 0) {
    const int64_t total = ElementCount(inputs[0].shape);
    if (known == 0 || total % known != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "cannot reshape ", ShapeToString(inputs[0].shape), " to [", ShapeToString(dims), "]"));
    }
    shape[static_cast<size_t>(unknown)] = total / known;
  }
  return Reshaped(inputs[0], std::move(shape));
}

InferResult InferFlatten(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  const auto rank = static_cast<int64_t>(inputs[0].shape.size());
  int64_t axis = AttrInt(node, "axis", 1);
  if (axis < -rank || axis > rank) {
    return absl::InvalidArgumentError(absl::StrCat("axis ", axis, " of a tensor of rank ", rank));
  }
  if (axis < 0) axis += rank;
  const auto at = static_cast<size_t>(axis);
  return Reshaped(inputs[0], {ElementCount(inputs[0].shape.first(at)),
                              ElementCount(inputs[0].shape.subspan(at))});
}

InferResult InferSqueeze(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_ASSIGN_OR_RETURN(const auto axes, AxesOf(node, inputs, 1));
  const auto& shape = inputs[0].shape;
  absl::InlinedVector<bool, 6> drop(shape.size(), false);
  if (axes) {
    for (const int64_t given : *axes) {
      BITMILL_ASSIGN_OR_RETURN(const int64_t axis,
                               NormalizeAxis(given, static_cast<int64_t>(shape.size())));
      if (shape.empty() || shape[static_cast<size_t>(axis)] != 1) {
        return absl::InvalidArgumentError(
            absl::StrCat("axis ", given, " of ", ShapeToString(shape), " is not 1"));
      }
      drop[static_cast<size_t>(axis)] = true;
    }
  } else {
    for (size_t d = 0; d < shape.size(); ++d) drop[d] = shape[d] == 1;
  }
  Shape result;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (!drop[d]) result.push_back(shape[d]);
  }
  return Reshaped(inputs[0], std::move(result));
}

InferResult InferUnsqueeze(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_ASSIGN_OR_RETURN(const auto axes, AxesOf(node, inputs, 1));
  if (!axes) return absl::InvalidArgumentError("axes are missing");
  const size_t rank = inputs[0].shape.size() + axes->size();
  if (rank > 16) return absl::InvalidArgumentError("more than 16 dimensions");
  absl::InlinedVector<bool, 6> added(rank, false);
  for (const int64_t given : *axes) {
    BITMILL_ASSIGN_OR_RETURN(const int64_t axis, NormalizeAxis(given, static_cast<int64_t>(rank)));
    if (added[static_cast<size_t>(axis)]) {
      return absl::InvalidArgumentError(absl::StrCat("axis ", given, " occurs twice"));
    }
    added[static_cast<size_t>(axis)] = true;
  }
  Shape result;
  size_t next = 0;
  for (size_t d = 0; d < rank; ++d) result.push_back(added[d] ? 1 : inputs[0].shape[next++]);
  return Reshaped(inputs[0], std::move(result));
}

// ---- Transpose ---------------------------------------------------------------------------------

absl::StatusOr<std::vector<int64_t>> Permutation(const Node& node, int64_t rank) {
  std::vector<int64_t> permutation;
  if (const auto* given = AttrInts(node, "perm")) {
    permutation = *given;
  } else {
    for (int64_t d = rank; d-- > 0;) permutation.push_back(d);
  }
  std::vector<int64_t> sorted = permutation;
  std::sort(sorted.begin(), sorted.end());
  for (int64_t d = 0; d < static_cast<int64_t>(sorted.size()); ++d) {
    if (sorted[static_cast<size_t>(d)] != d) {
      return absl::InvalidArgumentError("perm is not a permutation");
    }
  }
  if (static_cast<int64_t>(permutation.size()) != rank) {
    return absl::InvalidArgumentError(
        absl::StrCat("perm has ", permutation.size(), " entries for a tensor of rank ", rank));
  }
  return permutation;
}

InferResult InferTranspose(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFixedSize(inputs[0]));
  BITMILL_ASSIGN_OR_RETURN(const auto permutation,
                           Permutation(node, static_cast<int64_t>(inputs[0].shape.size())));
  Shape shape;
  for (const int64_t d : permutation) shape.push_back(inputs[0].shape[static_cast<size_t>(d)]);
  return OneOutput(inputs[0].dtype, std::move(shape));
}

absl::Status EvalTranspose(const Node& node, int64_t, absl::Span<const TensorView> in,
                           absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const auto permutation,
                           Permutation(node, static_cast<int64_t>(in[0].shape.size())));
  const Shape own = RowMajorStrides(in[0].shape);
  Shape strides;
  for (const int64_t d : permutation) strides.push_back(own[static_cast<size_t>(d)]);
  CopyStrided(in[0], out[0], 0, strides);
  return absl::OkStatus();
}

constexpr OpDef kOps[] = {
    {"Identity", 1, 1, 1, 1, InferIdentity, EvalCopy},
    {"Dropout", 1, 3, 1, 2, InferDropout, EvalDropout},
    {"Constant", 0, 0, 1, 1, InferConstant, EvalConstant},
    {"ConstantOfShape", 1, 1, 1, 1, InferConstantOfShape, EvalConstantOfShape},
    {"Shape", 1, 1, 1, 1, InferShape, EvalShape},
    {"Size", 1, 1, 1, 1, InferSize, EvalSize},
    {"Reshape", 1, 2, 1, 1, InferReshape, EvalCopy},
    {"Flatten", 1, 1, 1, 1, InferFlatten, EvalCopy},
    {"Squeeze", 1, 2, 1, 1, InferSqueeze, EvalCopy},
    {"Unsqueeze", 1, 2, 1, 1, InferUnsqueeze, EvalCopy},
    {"Transpose", 1, 1, 1, 1, InferTranspose, EvalTranspose},
};

}  // namespace

absl::Span<const OpDef> ShapeOps() { return kOps; }

}  // namespace bitmill
