// What the integer forms of convolutions and matrix products share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "model/ops/op_support.h"

namespace bitmill {

// Calls fn with a pointer to the elements, int8_t or uint8_t (see WantByte).
template <typename Fn>
void WithBytes(const TensorView& tensor, Fn fn) {
  if (tensor.dtype == DType::kInt8)
    fn(tensor.as<int8_t>());
  else
    fn(tensor.as<uint8_t>());
}

// A zero point: one value, or one a channel; 0 when the input is absent.
struct ZeroPoints {
  ZeroPoints(absl::Span<const TensorView> in, size_t index) {
    if (index >= in.size() || in[index].data == nullptr) return;
    tensor = &in[index];
    step = tensor->elements() == 1 ? 0 : 1;
  }
  int32_t at(int64_t channel) const {
    if (tensor == nullptr) return 0;
    const int64_t i = channel * step;
    return tensor->dtype == DType::kInt8 ? tensor->as<int8_t>()[i] : tensor->as<uint8_t>()[i];
  }
  const TensorView* tensor = nullptr;
  int64_t step = 0;
};

// The zero point at `index`, if there is one: bytes, one value or (where channels > 1) `channels`.
inline absl::Status CheckZeroPoints(absl::Span<const InputInfo> inputs, size_t index,
                                    int64_t channels) {
  if (index >= inputs.size() || inputs[index].dtype == DType::kInvalid) return absl::OkStatus();
  BITMILL_RETURN_IF_ERROR(WantByte(inputs[index], "a zero point"));
  const int64_t count = ElementCount(inputs[index].shape);
  if (count == 1 || count == channels) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("input ", index, " has ", count, " values, wanted 1",
                   channels > 1 ? absl::StrCat(" or ", channels) : ""));
}

// The scale at `index`, likewise.
inline absl::Status CheckScales(absl::Span<const InputInfo> inputs, size_t index,
                                int64_t channels) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[index], "a scale"));
  const int64_t count = ElementCount(inputs[index].shape);
  if (count == 1 || count == channels) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("input ", index, " has ", count, " values, wanted 1",
                   channels > 1 ? absl::StrCat(" or ", channels) : ""));
}

// Rounded (ties to even), shifted and saturated to the output's range; NaN gives 0.
inline void StoreQuantized(const MutableTensorView& out, int64_t index, float value, int32_t zero) {
  const bool is_signed = out.dtype == DType::kInt8;
  const float low = is_signed ? -128.0F : 0.0F;
  const float high = is_signed ? 127.0F : 255.0F;
  float code = std::nearbyint(value) + static_cast<float>(zero);
  code = std::isnan(code) ? 0.0F : std::clamp(code, low, high);
  if (is_signed)
    out.as<int8_t>()[index] = static_cast<int8_t>(code);
  else
    out.as<uint8_t>()[index] = static_cast<uint8_t>(code);
}

}  // namespace bitmill
