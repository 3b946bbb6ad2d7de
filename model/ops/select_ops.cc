// Operators that select, repeat and join elements: Expand, Concat, Gather, Slice; any element type
// of fixed size.
#include <algorithm>
#include <cstring>

#include "model/ops/op_support.h"
#include "model/ops/ops.h"

namespace bitmill {
namespace {

// ---- Expand ------------------------------------------------------------------------------------

InferResult InferExpand(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFixedSize(inputs[0]));
  BITMILL_ASSIGN_OR_RETURN(const auto dims, ConstantInts(inputs[1].constant, "the shape"));
  BITMILL_ASSIGN_OR_RETURN(Shape shape, BroadcastShapes(inputs[0].shape, dims));
  BITMILL_RETURN_IF_ERROR(CheckNewShape(shape));
  return OneOutput(inputs[0].dtype, std::move(shape));
}

absl::Status EvalExpand(const Node&, int64_t, absl::Span<const TensorView> in,
                        absl::Span<const MutableTensorView> out) {
  CopyStrided(in[0], out[0], 0, BroadcastStrides(in[0].shape, out[0].shape));
  return absl::OkStatus();
}

// ---- Concat ------------------------------------------------------------------------------------

InferResult InferConcat(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFixedSize(inputs[0]));
  Shape shape = ToShape(inputs[0].shape);
  BITMILL_ASSIGN_OR_RETURN(const int64_t axis, NormalizeAxis(AttrInt(node, "axis", 1),
                                                             static_cast<int64_t>(shape.size())));
  if (shape.empty()) return absl::InvalidArgumentError("scalars do not concatenate");
  const auto at = static_cast<size_t>(axis);
  for (const InputInfo& input : inputs.subspan(1)) {
    bool fits = input.dtype == inputs[0].dtype && input.shape.size() == shape.size();
    for (size_t d = 0; fits && d < shape.size(); ++d) fits = d == at || input.shape[d] == shape[d];
    if (!fits) {
      return absl::InvalidArgumentError(absl::StrCat(
          ShapeToString(input.shape), " ", DTypeName(input.dtype), " does not concatenate with ",
          ShapeToString(inputs[0].shape), " ", DTypeName(inputs[0].dtype)));
    }
    const auto sum = CheckedAdd(shape[at], input.shape[at]);
    if (!sum) return absl::InvalidArgumentError("the result is too large");
    shape[at] = *sum;
  }
  BITMILL_RETURN_IF_ERROR(CheckNewShape(shape));
  return OneOutput(inputs[0].dtype, std::move(shape));
}

absl::Status EvalConcat(const Node& node, int64_t, absl::Span<const TensorView> in,
                        absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(
      const int64_t axis,
      NormalizeAxis(AttrInt(node, "axis", 1), static_cast<int64_t>(out[0].shape.size())));
  const auto at = static_cast<size_t>(axis);
  const int64_t outer = ElementCount(out[0].shape.first(at));
  const int64_t inner = ElementCount(out[0].shape.subspan(at + 1)) * DTypeSize(out[0].dtype);
  const int64_t out_row = out[0].shape[at] * inner;
  int64_t offset = 0;
  for (const TensorView& part : in) {
    const int64_t row = part.shape[at] * inner;
    for (int64_t o = 0; row > 0 && o < outer; ++o) {
      std::memcpy(out[0].as<std::byte>() + o * out_row + offset, part.as<std::byte>() + o * row,
                  static_cast<size_t>(row));
    }
    offset += row;
  }
  return absl::OkStatus();
}

// ---- Gather ------------------------------------------------------------------------------------

InferResult InferGather(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFixedSize(inputs[0]));
  if (inputs[1].dtype != DType::kInt64 && inputs[1].dtype != DType::kInt32) {
    return absl::InvalidArgumentError("indices must be INT32 or INT64");
  }
  BITMILL_ASSIGN_OR_RETURN(
      const int64_t axis,
      NormalizeAxis(AttrInt(node, "axis", 0), static_cast<int64_t>(inputs[0].shape.size())));
  if (inputs[0].shape.empty()) return absl::InvalidArgumentError("the data is a scalar");
  const auto at = static_cast<size_t>(axis);
  Shape shape = ToShape(inputs[0].shape.first(at));
  shape.insert(shape.end(), inputs[1].shape.begin(), inputs[1].shape.end());
  const auto tail = inputs[0].shape.subspan(at + 1);
  shape.insert(shape.end(), tail.begin(), tail.end());
  BITMILL_RETURN_IF_ERROR(CheckNewShape(shape));
  return OneOutput(inputs[0].dtype, std::move(shape));
}

absl::Status EvalGather(const Node& node, int64_t, absl::Span<const TensorView> in,
                        absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(
      const int64_t axis,
      NormalizeAxis(AttrInt(node, "axis", 0), static_cast<int64_t>(in[0].shape.size())));
  const auto at = static_cast<size_t>(axis);
  const int64_t size = in[0].shape[at];
  const int64_t outer = ElementCount(in[0].shape.first(at));
  const int64_t bytes = ElementCount(in[0].shape.subspan(at + 1)) * DTypeSize(in[0].dtype);
  const int64_t count = in[1].elements();
  auto* to = out[0].as<std::byte>();
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < count; ++i) {
      auto index = static_cast<int64_t>(in[1].dtype == DType::kInt64 ? in[1].as<int64_t>()[i]
                                                                     : in[1].as<int32_t>()[i]);
      if (index < 0) index += size;
      if (index < 0 || index >= size) {
        return absl::InvalidArgumentError(
            absl::StrCat("index ", index, " is outside an axis of ", size));
      }
      std::memcpy(to, in[0].as<std::byte>() + (o * size + index) * bytes,
                  static_cast<size_t>(bytes));
      to += bytes;
    }
  }
  return absl::OkStatus();
}

// ---- Slice -------------------------------------------------------------------------------------

struct SliceAxis {
  int64_t start = 0, step = 1, count = 0;
};
using Slices = absl::InlinedVector<SliceAxis, 6>;

absl::StatusOr<Slices> SlicesOf(absl::Span<const int64_t> shape, absl::Span<const int64_t> starts,
                                absl::Span<const int64_t> ends, absl::Span<const int64_t> axes,
                                absl::Span<const int64_t> steps) {
  Slices slices;
  for (const int64_t dim : shape) slices.push_back({0, 1, dim});
  if (ends.size() != starts.size() || (!axes.empty() && axes.size() != starts.size()) ||
      (!steps.empty() && steps.size() != starts.size())) {
    return absl::InvalidArgumentError("starts, ends, axes and steps differ in length");
  }
  for (size_t i = 0; i < starts.size(); ++i) {
    BITMILL_ASSIGN_OR_RETURN(const int64_t axis,
                             NormalizeAxis(axes.empty() ? static_cast<int64_t>(i) : axes[i],
                                           static_cast<int64_t>(shape.size())));
    if (shape.empty()) return absl::InvalidArgumentError("a scalar has no slice");
    const int64_t dim = shape[static_cast<size_t>(axis)];
    const int64_t step = steps.empty() ? 1 : steps[i];
    if (step == 0) return absl::InvalidArgumentError("a step is 0");
    const auto place = [dim](int64_t x, int64_t low, int64_t high) {
      if (x < 0 && x >= -dim)
        x += dim;
      else if (x < 0)
        x = low;
      return std::clamp(x, low, high);
    };
    SliceAxis slice;
    slice.step = std::clamp<int64_t>(step, -(dim + 1), dim + 1);
    if (step > 0) {
      slice.start = place(starts[i], 0, dim);
      const int64_t end = place(ends[i], 0, dim);
      slice.count = std::max<int64_t>(0, (end - slice.start + slice.step - 1) / slice.step);
    } else {
      slice.start = place(starts[i], -1, dim - 1);
      const int64_t end = place(ends[i], -1, dim - 1);
      slice.count = std::max<int64_t>(0, (slice.start - end - slice.step - 1) / -slice.step);
    }
    slices[static_cast<size_t>(axis)] = slice;
  }
  return slices;
}

InferResult InferSlice(const Node& node, int64_t opset, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFixedSize(inputs[0]));
  std::vector<int64_t> values[4];
  if (opset < 10) {
    constexpr const char* kNames[] = {"starts", "ends", "axes"};
    for (int i = 0; i < 3; ++i) {
      if (const auto* given = AttrInts(node, kNames[i])) values[i] = *given;
    }
  } else {
    for (size_t i = 0; i < 4; ++i) {
      if (inputs.size() <= i + 1 || inputs[i + 1].dtype == DType::kInvalid) continue;
      BITMILL_ASSIGN_OR_RETURN(
          values[i], ConstantInts(inputs[i + 1].constant, "starts, ends, axes and steps"));
    }
  }
  BITMILL_ASSIGN_OR_RETURN(const Slices slices,
                           SlicesOf(inputs[0].shape, values[0], values[1], values[2], values[3]));
  Shape shape;
  for (const SliceAxis& slice : slices) shape.push_back(slice.count);
  return OneOutput(inputs[0].dtype, std::move(shape));
}

absl::Status EvalSlice(const Node& node, int64_t opset, absl::Span<const TensorView> in,
                       absl::Span<const MutableTensorView> out) {
  absl::InlinedVector<int64_t, 6> values[4];
  if (opset < 10) {
    constexpr const char* kNames[] = {"starts", "ends", "axes"};
    for (int i = 0; i < 3; ++i) {
      if (const auto* given = AttrInts(node, kNames[i])) {
        values[i].assign(given->begin(), given->end());
      }
    }
  } else {
    for (size_t i = 0; i < 4; ++i) {
      if (in.size() <= i + 1 || in[i + 1].data == nullptr) continue;
      for (int64_t k = 0; k < in[i + 1].elements(); ++k) {
        values[i].push_back(in[i + 1].dtype == DType::kInt64 ? in[i + 1].as<int64_t>()[k]
                                                             : in[i + 1].as<int32_t>()[k]);
      }
    }
  }
  BITMILL_ASSIGN_OR_RETURN(const Slices slices,
                           SlicesOf(in[0].shape, values[0], values[1], values[2], values[3]));
  const Shape own = RowMajorStrides(in[0].shape);
  Shape strides;
  int64_t start = 0;
  for (size_t d = 0; d < slices.size(); ++d) {
    if (slices[d].count == 0) return absl::OkStatus();
    start += slices[d].start * own[d];
    strides.push_back(slices[d].step * own[d]);
  }
  CopyStrided(in[0], out[0], start, strides);
  return absl::OkStatus();
}

constexpr int kMany = 4096;

constexpr OpDef kOps[] = {
    {"Expand", 2, 2, 1, 1, InferExpand, EvalExpand},
    {"Concat", 1, kMany, 1, 1, InferConcat, EvalConcat},
    {"Gather", 2, 2, 1, 1, InferGather, EvalGather},
    {"Slice", 1, 5, 1, 1, InferSlice, EvalSlice},
};

}  // namespace

absl::Span<const OpDef> SelectOps() { return kOps; }

}  // namespace bitmill
