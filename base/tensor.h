// Dense tensors: Shape, an owning Tensor, and views that borrow.
//
// Layout is row-major without gaps. kBit1 tensors are not held here: packed bits have their own
// layout (kernels/bconv/bconv.h) and live in an executable's arena or weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/aligned_buffer.h"
#include "base/check.h"
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

// A tensor of a fixed-size element type that owns its elements, zero-filled at first; or a constant
// whose elements lie elsewhere. Movable; copy it with Clone() so that a copy is always visible.
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

  // A constant over memory of ElementCount(shape) elements, aligned to 64 bytes, that lives as long
  // as `elements`; may not be changed. InvalidArgument as for Create.
  static absl::StatusOr<Tensor> Over(DType dtype, absl::Span<const int64_t> shape,
                                     std::shared_ptr<const std::byte> elements);
  // Type and shape of a constant whose elements are not at hand; to read them is a bug.
  static absl::StatusOr<Tensor> WithoutElements(DType dtype, absl::Span<const int64_t> shape);

  Tensor(Tensor&&) noexcept = default;
  Tensor& operator=(Tensor&&) noexcept = default;
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
  Tensor Clone() const;

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t elements() const { return ElementCount(shape_); }
  int64_t bytes() const { return bytes_; }
  bool has_elements() const { return place_ != Place::kNowhere; }

  template <typename T>
  absl::Span<T> span() {
    return absl::MakeSpan(static_cast<T*>(data()), static_cast<size_t>(elements()));
  }
  template <typename T>
  absl::Span<const T> span() const {
    return absl::MakeConstSpan(static_cast<const T*>(data()), static_cast<size_t>(elements()));
  }
  void* data() {
    BITMILL_CHECK(place_ == Place::kOwned);
    return buffer_.data();
  }
  const void* data() const {
    BITMILL_CHECK(place_ != Place::kNowhere);
    return place_ == Place::kOwned ? buffer_.data() : elsewhere_.get();
  }

  TensorView view() const { return {dtype_, shape_, data()}; }
  MutableTensorView mutable_view() { return {dtype_, shape_, data()}; }

  // Same elements under another shape of the same count (checked).
  absl::Status Reshape(absl::Span<const int64_t> shape);

 private:
  enum class Place : uint8_t { kOwned, kElsewhere, kNowhere };
  // Type, shape and size, checked; no elements.
  static absl::StatusOr<Tensor> Outline(DType dtype, absl::Span<const int64_t> shape);

  DType dtype_ = DType::kInvalid;
  Place place_ = Place::kOwned;
  Shape shape_;
  int64_t bytes_ = 0;
  AlignedBuffer buffer_;
  std::shared_ptr<const std::byte> elsewhere_;
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
