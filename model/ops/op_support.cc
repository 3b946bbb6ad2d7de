#include "model/ops/op_support.h"

#include <algorithm>
#include <cstring>

namespace bitmill {
namespace {

template <typename T>
const T* Attr(const Node& node, const char* name) {
  const auto found = node.attributes.find(name);
  return found == node.attributes.end() ? nullptr : std::get_if<T>(&found->second);
}

}  // namespace

int64_t AttrInt(const Node& node, const char* name, int64_t fallback) {
  const auto* value = Attr<int64_t>(node, name);
  return value != nullptr ? *value : fallback;
}

float AttrFloat(const Node& node, const char* name, float fallback) {
  const auto* value = Attr<float>(node, name);
  return value != nullptr ? *value : fallback;
}

std::string AttrString(const Node& node, const char* name, const char* fallback) {
  const auto* value = Attr<std::string>(node, name);
  return value != nullptr ? *value : fallback;
}

const std::vector<int64_t>* AttrInts(const Node& node, const char* name) {
  return Attr<std::vector<int64_t>>(node, name);
}

const std::vector<float>* AttrFloats(const Node& node, const char* name) {
  return Attr<std::vector<float>>(node, name);
}

const Tensor* AttrTensor(const Node& node, const char* name) {
  const auto* value = Attr<SharedTensor>(node, name);
  return value != nullptr ? value->get() : nullptr;
}

bool HasAttr(const Node& node, const char* name) { return node.attributes.contains(name); }

absl::StatusOr<int64_t> NormalizeAxis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= std::max<int64_t>(rank, 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("axis ", axis, " is outside a tensor of rank ", rank));
  }
  return axis < 0 ? axis + rank : axis;
}

absl::StatusOr<std::vector<int64_t>> ConstantInts(const Tensor* constant, const char* what) {
  if (constant == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " must be known when the model is loaded"));
  }
  std::vector<int64_t> values;
  if (constant->dtype() == DType::kInt64) {
    const auto span = constant->span<int64_t>();
    values.assign(span.begin(), span.end());
  } else if (constant->dtype() == DType::kInt32) {
    const auto span = constant->span<int32_t>();
    values.assign(span.begin(), span.end());
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " is ", DTypeName(constant->dtype()), ", wanted INT64 or INT32"));
  }
  return values;
}

absl::StatusOr<std::optional<std::vector<int64_t>>> AxesOf(const Node& node,
                                                           absl::Span<const InputInfo> inputs,
                                                           size_t index) {
  if (inputs.size() > index && inputs[index].dtype != DType::kInvalid) {
    BITMILL_ASSIGN_OR_RETURN(auto values, ConstantInts(inputs[index].constant, "axes"));
    return std::optional(std::move(values));
  }
  if (const auto* axes = AttrInts(node, "axes")) return std::optional(*axes);
  return std::optional<std::vector<int64_t>>();
}

absl::StatusOr<Shape> BroadcastShapes(absl::Span<const int64_t> a, absl::Span<const int64_t> b) {
  const size_t rank = std::max(a.size(), b.size());
  Shape out(rank, 1);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t da = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t db = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (da != db && da != 1 && db != 1) {
      return absl::InvalidArgumentError(absl::StrCat("shapes ", ShapeToString(a), " and ",
                                                     ShapeToString(b), " do not broadcast"));
    }
    out[rank - 1 - i] = da == 1 ? db : da;
  }
  return out;
}

Shape RowMajorStrides(absl::Span<const int64_t> shape) {
  Shape strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

Shape BroadcastStrides(absl::Span<const int64_t> shape, absl::Span<const int64_t> out) {
  const Shape own = RowMajorStrides(shape);
  Shape strides(out.size(), 0);
  for (size_t i = 0; i < shape.size(); ++i) {
    const size_t to = out.size() - shape.size() + i;
    strides[to] = shape[i] == 1 ? 0 : own[i];
  }
  return strides;
}

absl::Status WantFloat(const InputInfo& input, const char* what) {
  if (input.dtype == DType::kFloat32) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " is ", DTypeName(input.dtype), ", wanted FP32"));
}

absl::Status WantNumber(const InputInfo& input, const char* what) {
  if (DispatchNumber(input.dtype, [](auto) {})) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(what, " is ", DTypeName(input.dtype), ", which has no arithmetic here"));
}

absl::Status WantByte(const InputInfo& input, const char* what) {
  if (input.dtype == DType::kUInt8 || input.dtype == DType::kInt8) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " is ", DTypeName(input.dtype), ", wanted UINT8 or INT8"));
}

absl::Status WantRank(const InputInfo& input, int64_t rank, const char* what) {
  if (static_cast<int64_t>(input.shape.size()) == rank) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " has shape ", ShapeToString(input.shape), ", wanted rank ", rank));
}

bool IsSaneShape(absl::Span<const int64_t> shape) {
  constexpr size_t kMaxRank = 16;
  if (shape.size() > kMaxRank) return false;
  int64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim < 0 || dim > kMaxValueElements) return false;
    count *= std::max<int64_t>(dim, 1);
    if (count > kMaxValueElements) return false;
  }
  return true;
}

absl::Status WantFixedSize(const InputInfo& input) {
  if (DTypeSize(input.dtype) > 0) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("elements of type ", DTypeName(input.dtype)));
}

absl::Status CheckNewShape(absl::Span<const int64_t> shape) {
  if (IsSaneShape(shape)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("shape ", ShapeToString(shape), " is negative or too large"));
}

void CopyStrided(const TensorView& in, const MutableTensorView& out, int64_t start,
                 const Shape& strides) {
  const auto size = static_cast<size_t>(DTypeSize(in.dtype));
  const auto* from = in.as<std::byte>();
  auto* to = out.as<std::byte>();
  ForEachBroadcast(out.shape, strides, strides, [&](int64_t offset, int64_t, int64_t i) {
    std::memcpy(to + static_cast<size_t>(i) * size, from + (start + offset) * int64_t(size), size);
  });
}

InferResult OneOutput(DType dtype, Shape shape) {
  std::vector<TensorType> types(1);
  types[0].dtype = dtype;
  types[0].shape = std::move(shape);
  return types;
}

double NumberAt(const TensorView& tensor, int64_t index) {
  double value = 0;
  DispatchNumber(tensor.dtype, [&](auto zero) {
    using T = decltype(zero);
    value = static_cast<double>(tensor.as<T>()[index]);
  });
  return value;
}

}  // namespace bitmill
