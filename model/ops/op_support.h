// What the operator definitions share: attributes, shapes, broadcasting, element dispatch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "model/graph.h"
#include "model/ops/op_registry.h"

namespace bitmill {

using InferResult = absl::StatusOr<std::vector<TensorType>>;

// Attributes by name; the default when absent or of another type (which CheckAttributeTypes refuses
// before).
int64_t AttrInt(const Node& node, const char* name, int64_t fallback);
float AttrFloat(const Node& node, const char* name, float fallback);
std::string AttrString(const Node& node, const char* name, const char* fallback);
// Null when absent.
const std::vector<int64_t>* AttrInts(const Node& node, const char* name);
const std::vector<float>* AttrFloats(const Node& node, const char* name);
const Tensor* AttrTensor(const Node& node, const char* name);
bool HasAttr(const Node& node, const char* name);

// The most elements that a value may have.
inline constexpr int64_t kMaxValueElements = int64_t{1} << 31;

// At most 16 dimensions, none negative, and the product of any of them is at most
// kMaxValueElements, whether another one is zero or not. All shapes of a graph are sane, so that
// operators need not check products of parts of them.
bool IsSaneShape(absl::Span<const int64_t> shape);

// -rank <= axis < rank -> 0 .. rank-1, or InvalidArgument.
absl::StatusOr<int64_t> NormalizeAxis(int64_t axis, int64_t rank);

// The values of an int32 or int64 tensor; InvalidArgument for another type, or null ("must be
// known when the model is loaded").
absl::StatusOr<std::vector<int64_t>> ConstantInts(const Tensor* constant, const char* what);
// Axes of Squeeze, Unsqueeze, Reduce*: an attribute in older opsets, input `index` in newer ones.
absl::StatusOr<std::optional<std::vector<int64_t>>> AxesOf(const Node& node,
                                                           absl::Span<const InputInfo> inputs,
                                                           size_t index);

// Multi-directional broadcasting; InvalidArgument when the shapes do not fit.
absl::StatusOr<Shape> BroadcastShapes(absl::Span<const int64_t> a, absl::Span<const int64_t> b);

// Strides (in elements) of `shape` seen under `out` by broadcasting: 0 where it repeats.
Shape BroadcastStrides(absl::Span<const int64_t> shape, absl::Span<const int64_t> out);
Shape RowMajorStrides(absl::Span<const int64_t> shape);

// Calls fn(offset_a, offset_b, out_index) for every element of `out` in row-major order.
template <typename Fn>
void ForEachBroadcast(absl::Span<const int64_t> out, const Shape& a_strides, const Shape& b_strides,
                      Fn fn) {
  const int64_t count = ElementCount(out);
  const size_t rank = out.size();
  absl::InlinedVector<int64_t, 6> index(rank, 0);
  int64_t a = 0;
  int64_t b = 0;
  for (int64_t i = 0; i < count; ++i) {
    fn(a, b, i);
    for (size_t d = rank; d-- > 0;) {
      a += a_strides[d];
      b += b_strides[d];
      if (++index[d] < out[d]) break;
      a -= a_strides[d] * out[d];
      b -= b_strides[d] * out[d];
      index[d] = 0;
    }
  }
}

// Refuses a tensor of a type that the operator's reference does not compute with.
absl::Status WantFloat(const InputInfo& input, const char* what);
absl::Status WantNumber(const InputInfo& input, const char* what);  // what DispatchNumber takes
absl::Status WantByte(const InputInfo& input, const char* what);    // UINT8 or INT8
absl::Status WantFixedSize(const InputInfo& input);
absl::Status WantRank(const InputInfo& input, int64_t rank, const char* what);

InferResult OneOutput(DType dtype, Shape shape);
// InvalidArgument unless the shape is sane.
absl::Status CheckNewShape(absl::Span<const int64_t> shape);
// Copies out[i] = in[start + offset(i)], where offsets follow `strides` (in elements of the input)
// under the output's shape.
void CopyStrided(const TensorView& in, const MutableTensorView& out, int64_t start,
                 const Shape& strides);

inline Shape ToShape(absl::Span<const int64_t> dims) { return Shape(dims.begin(), dims.end()); }

// Calls fn with a value of the C++ type of `dtype`: fn(float{}) and so on. Returns false for a
// type without arithmetic here (FP16, BF16, BYTES, bits).
template <typename Fn>
bool DispatchNumber(DType dtype, Fn fn) {
  switch (dtype) {
    case DType::kFloat32:
      fn(float{});
      return true;
    case DType::kFloat64:
      fn(double{});
      return true;
    case DType::kInt8:
      fn(int8_t{});
      return true;
    case DType::kInt16:
      fn(int16_t{});
      return true;
    case DType::kInt32:
      fn(int32_t{});
      return true;
    case DType::kInt64:
      fn(int64_t{});
      return true;
    case DType::kBool:
    case DType::kUInt8:
      fn(uint8_t{});
      return true;
    case DType::kUInt16:
      fn(uint16_t{});
      return true;
    case DType::kUInt32:
      fn(uint32_t{});
      return true;
    case DType::kUInt64:
      fn(uint64_t{});
      return true;
    default:
      return false;
  }
}

// The element at `index` as a double; for parameters such as scales and zero points.
double NumberAt(const TensorView& tensor, int64_t index);

}  // namespace bitmill
