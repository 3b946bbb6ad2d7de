#include "tools/input/elements.h"

#include <cmath>
#include <cstring>

#include "base/check.h"

namespace bitmill {
namespace {

double FromHalf(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) return mantissa != 0 ? std::nan("") : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

double FromBFloat(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value = 0.0F;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

}  // namespace

double ElementAsDouble(const Tensor& tensor, int64_t index) {
  const auto at = [&tensor, index]<typename Element>(Element /*type*/) {
    return tensor.span<Element>()[static_cast<size_t>(index)];
  };
  switch (tensor.dtype()) {
    case DType::kBool:
    case DType::kUInt8:
      return at(uint8_t{});
    case DType::kUInt16:
      return at(uint16_t{});
    case DType::kUInt32:
      return at(uint32_t{});
    case DType::kUInt64:
      return static_cast<double>(at(uint64_t{}));
    case DType::kInt8:
      return at(int8_t{});
    case DType::kInt16:
      return at(int16_t{});
    case DType::kInt32:
      return at(int32_t{});
    case DType::kInt64:
      return static_cast<double>(at(int64_t{}));
    case DType::kFloat16:
      return FromHalf(at(uint16_t{}));
    case DType::kBFloat16:
      return FromBFloat(at(uint16_t{}));
    case DType::kFloat32:
      return at(float{});
    case DType::kFloat64:
      return at(double{});
    default:
      BITMILL_CHECK(false);
      return 0.0;
  }
}

}  // namespace bitmill
