#include "base/tensor.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/checked_math.h"
#include "base/status_macros.h"

namespace bitmill {

std::string ShapeToString(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

int64_t ElementCount(absl::Span<const int64_t> shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

absl::StatusOr<Tensor> Tensor::Outline(DType dtype, absl::Span<const int64_t> shape) {
  const int64_t element_bytes = DTypeSize(dtype);
  if (element_bytes == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a tensor cannot hold elements of type ", DTypeName(dtype)));
  }
  const auto count = CheckedProduct(shape);
  const auto bytes = count ? CheckedMul(*count, element_bytes) : std::nullopt;
  // 2^40 bytes is beyond any machine that this runs on, and far below what could overflow later.
  if (!bytes || *bytes > (int64_t{1} << 40)) {
    return absl::InvalidArgumentError(
        absl::StrCat("shape ", ShapeToString(shape), " of ", DTypeName(dtype), " is too large"));
  }
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.shape_.assign(shape.begin(), shape.end());
  tensor.bytes_ = *bytes;
  return tensor;
}

absl::StatusOr<Tensor> Tensor::Create(DType dtype, absl::Span<const int64_t> shape) {
  BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Outline(dtype, shape));
  tensor.buffer_ = AlignedBuffer(tensor.bytes_);
  return tensor;
}

absl::StatusOr<Tensor> Tensor::Over(DType dtype, absl::Span<const int64_t> shape,
                                    std::shared_ptr<const std::byte> elements) {
  BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Outline(dtype, shape));
  tensor.place_ = Place::kElsewhere;
  tensor.elsewhere_ = std::move(elements);
  return tensor;
}

absl::StatusOr<Tensor> Tensor::WithoutElements(DType dtype, absl::Span<const int64_t> shape) {
  BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Outline(dtype, shape));
  tensor.place_ = Place::kNowhere;
  return tensor;
}

Tensor Tensor::Zeros(DType dtype, std::initializer_list<int64_t> shape) {
  auto tensor = Create(dtype, shape);
  BITMILL_CHECK(tensor.ok());
  return *std::move(tensor);
}

Tensor Tensor::Clone() const {
  Tensor copy;
  copy.dtype_ = dtype_;
  copy.shape_ = shape_;
  copy.bytes_ = bytes_;
  copy.buffer_ = AlignedBuffer(bytes_);
  if (bytes_ > 0) std::memcpy(copy.buffer_.data(), data(), static_cast<size_t>(bytes_));
  return copy;
}

absl::Status Tensor::Reshape(absl::Span<const int64_t> shape) {
  const auto count = CheckedProduct(shape);
  if (!count || *count != elements()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot reshape ", ShapeToString(shape_), " to ",
                                                   ShapeToString(shape),
                                                   ": the number of elements differs"));
  }
  Shape copy(shape.begin(), shape.end());
  shape_ = std::move(copy);
  return absl::OkStatus();
}

}  // namespace bitmill
