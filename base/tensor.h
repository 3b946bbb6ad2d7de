// Dense tensors: Shape, an owning Tensor, and views that borrow.
//
// Layout is row-major without gaps. kBit1 tensors are not held here: packed bits have their own
// layout (kernels/bconv/bconv.h) and live in an executable's arena or weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/aligned_buffer.h"
#include "base/dtype.h"

namespace bitmill {

// Dimensions, outermost first; empty for a scalar. A negative dimension (-1) means "any" and
// occurs only in signatures, never in a tensor.
using Shape = absl::InlinedVector<int64_t, 6>;

std::string ShapeToString(absl::Span<const int64_t> shape);  // "[1,3,32,32]"

// Number of elements; the shape must already have been checked (no negative dimension, no
// overflow), for example by Tensor::Create.
int64_t ElementCount(absl::Span<const int64_t> shape);

struct TensorView {
  DType dtype = DType::kInvalid;
  absl::Span<const int64_t> shape;
  const void* data = nullptr;  // borrowed

  int64_t elements() const { return ElementCount(shape); }
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

struct MutableTensorView {
  DType dtype = DType::kInvalid;
  absl::Span<const int64_t> shape;
  void* data = nullptr;  // borrowed

  int64_t elements() const { return ElementCount(shape); }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// A tensor that owns its elements (fixed-size element types only), zero-filled at first.
// Movable; copy it with Clone() so that a copy is always visible.
class Tensor {
 public:
  Tensor() = default;
  // InvalidArgument for a negative dimension, a size that overflows, or a dtype without a fixed
  // element size.
  static absl::StatusOr<Tensor> Create(DType dtype, absl::Span<const int64_t> shape);
  // For shapes and types that the code itself chose; a broken one is a bug.
  static Tensor Zeros(DType dtype, std::initializer_list<int64_t> shape);
  template <typename T>
  static Tensor Of(DType dtype, std::initializer_list<int64_t> shape, absl::Span<const T> values);

  Tensor(Tensor&&) = default;
  Tensor& operator=(Tensor&&) = default;
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
  Tensor Clone() const;

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t elements() const { return ElementCount(shape_); }
  int64_t bytes() const { return buffer_.size(); }

  template <typename T>
  absl::Span<T> span() {
    return absl::MakeSpan(buffer_.as<T>(), static_cast<size_t>(elements()));
  }
  template <typename T>
  absl::Span<const T> span() const {
    return absl::MakeConstSpan(buffer_.as<T>(), static_cast<size_t>(elements()));
  }
  void* data() { return buffer_.data(); }
  const void* data() const { return buffer_.data(); }

  TensorView view() const { return {dtype_, shape_, buffer_.data()}; }
  MutableTensorView mutable_view() { return {dtype_, shape_, buffer_.data()}; }

  // Same elements under another shape of the same count (checked).
  absl::Status Reshape(absl::Span<const int64_t> shape);

 private:
  DType dtype_ = DType::kInvalid;
  Shape shape_;
  AlignedBuffer buffer_;
};

template <typename T>
Tensor Tensor::Of(DType dtype, std::initializer_list<int64_t> shape, absl::Span<const T> values) {
  Tensor tensor = Zeros(dtype, shape);
  BITMILL_CHECK(DTypeSize(dtype) == static_cast<int64_t>(sizeof(T)) &&
                tensor.elements() == static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) tensor.span<T>()[i] = values[i];
  return tensor;
}

}  // namespace bitmill
