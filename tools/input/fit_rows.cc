#include "tools/input/fit_rows.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/half.h"
#include "base/status_macros.h"
#include "tools/input/elements.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxRandomBytes = int64_t{1} << 30;

// Where element `i` of a row of the model comes from in a row of the array: the same place, or,
// for a row [channels, height, width] from an image [height, width, channels], its transpose.
class RowOrder {
 public:
  RowOrder(absl::Span<const int64_t> array_row, absl::Span<const int64_t> model_row) {
    const bool images = array_row.size() == 3 && model_row.size() == 3;
    if (images && array_row != model_row && array_row[0] == model_row[1] &&
        array_row[1] == model_row[2] && array_row[2] == model_row[0]) {
      channels_ = model_row[0];
      pixels_ = model_row[1] * model_row[2];
    }
  }
  int64_t Source(int64_t i) const {
    return channels_ == 0 ? i : (i % pixels_) * channels_ + i / pixels_;
  }

 private:
  int64_t channels_ = 0, pixels_ = 0;
};

template <typename Element>
bool Append(double value, std::string& bytes) {
  if constexpr (std::is_integral_v<Element>) {
    // The upper bound is exclusive because 2^63 and 2^64 are doubles and their predecessors not.
    const double above = std::ldexp(1.0, std::numeric_limits<Element>::digits);
    const double low = static_cast<double>(std::numeric_limits<Element>::min());
    if (!(value >= low && value < above) || value != std::floor(value)) return false;
  }
  const auto element = static_cast<Element>(value);
  bytes.append(reinterpret_cast<const char*>(&element), sizeof element);
  return true;
}

// False for a finite value that would become infinite.
bool AppendHalf(double value, uint16_t bits, double kept, std::string& bytes) {
  if (std::isinf(kept) && !std::isinf(value)) return false;
  bytes.append(reinterpret_cast<const char*>(&bits), sizeof bits);
  return true;
}

// False when the value is not one of the type.
bool AppendAs(DType dtype, double value, std::string& bytes) {
  switch (dtype) {
    case DType::kBool:
      return (value == 0.0 || value == 1.0) && Append<uint8_t>(value, bytes);
    case DType::kUInt8:
      return Append<uint8_t>(value, bytes);
    case DType::kUInt16:
      return Append<uint16_t>(value, bytes);
    case DType::kUInt32:
      return Append<uint32_t>(value, bytes);
    case DType::kUInt64:
      return Append<uint64_t>(value, bytes);
    case DType::kInt8:
      return Append<int8_t>(value, bytes);
    case DType::kInt16:
      return Append<int16_t>(value, bytes);
    case DType::kInt32:
      return Append<int32_t>(value, bytes);
    case DType::kInt64:
      return Append<int64_t>(value, bytes);
    case DType::kFloat16: {
      const uint16_t half = FloatToHalf(static_cast<float>(value));
      return AppendHalf(value, half, HalfToFloat(half), bytes);
    }
    case DType::kBFloat16: {
      const uint16_t half = FloatToBFloat16(static_cast<float>(value));
      return AppendHalf(value, half, BFloat16ToFloat(half), bytes);
    }
    case DType::kFloat32:
      return Append<float>(value, bytes);
    case DType::kFloat64:
      return Append<double>(value, bytes);
    default:
      return false;
  }
}

bool CanConvertTo(DType dtype) { return DTypeSize(dtype) > 0; }

// Binary digits of a random value between 0 and 1 that the type keeps exactly; 0: no real number.
int RandomDigits(DType dtype) {
  switch (dtype) {
    case DType::kBFloat16:
      return 8;
    case DType::kFloat16:
      return 11;
    case DType::kFloat32:
    case DType::kFloat64:
      return 24;
    default:
      return 0;
  }
}

}  // namespace

absl::StatusOr<RowSet> FitRows(const NamedTensor& array, const TensorSpec& input) {
  const Shape& shape = array.tensor.shape();
  const std::optional<int64_t> row_elements = CheckedProduct(input.row_shape);
  const int64_t elements = array.tensor.elements();
  const std::string wanted =
      absl::StrCat("rows of ", DTypeName(input.dtype), " ", ShapeToString(input.row_shape),
                   " for input '", input.name, "'");
  if (!row_elements.has_value() || *row_elements == 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot make ", wanted));
  }
  const bool rows_first = !shape.empty() && shape[0] > 0 && elements / shape[0] == *row_elements &&
                          elements % shape[0] == 0;
  if (!rows_first && elements != *row_elements) {
    return absl::InvalidArgumentError(absl::StrCat(
        "array '", array.name, "' of shape ", ShapeToString(shape), " does not hold ", wanted));
  }
  RowSet set;
  set.rows = rows_first ? shape[0] : 1;
  if (array.tensor.dtype() != input.dtype && !CanConvertTo(input.dtype)) {
    return absl::UnimplementedError(
        absl::StrCat("cannot convert ", DTypeName(array.tensor.dtype()), " to ", wanted));
  }
  const RowOrder order(absl::MakeConstSpan(shape).subspan(rows_first ? 1 : 0), input.row_shape);
  const bool same_type = array.tensor.dtype() == input.dtype;
  const auto size = static_cast<size_t>(DTypeSize(input.dtype));
  const char* source = static_cast<const char*>(array.tensor.data());
  set.bytes.reserve(static_cast<size_t>(elements) * size);
  for (int64_t row = 0; row < set.rows; ++row) {
    for (int64_t i = 0; i < *row_elements; ++i) {
      const int64_t from = row * *row_elements + order.Source(i);
      if (same_type) {
        set.bytes.append(source + static_cast<size_t>(from) * size, size);
        continue;
      }
      const double value = ElementAsDouble(array.tensor, from);
      if (!AppendAs(input.dtype, value, set.bytes)) {
        return absl::InvalidArgumentError(absl::StrCat("array '", array.name, "': value ", value,
                                                       " of row ", row, " is no ",
                                                       DTypeName(input.dtype)));
      }
    }
  }
  return set;
}

absl::StatusOr<RowSet> FitRawBytes(std::string bytes, const TensorSpec& input) {
  const auto size = static_cast<int64_t>(bytes.size());
  if (input.row_bytes <= 0 || size == 0 || size % input.row_bytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(size, " raw bytes are no whole number of rows of input '", input.name,
                     "', which take ", input.row_bytes, " bytes each"));
  }
  return RowSet{size / input.row_bytes, std::move(bytes)};
}

absl::StatusOr<RowSet> RandomRows(const TensorSpec& input, int64_t rows, uint64_t seed) {
  if (!CanConvertTo(input.dtype)) {
    return absl::UnimplementedError(absl::StrCat("no random data of type ", DTypeName(input.dtype),
                                                 " for input '", input.name,
                                                 "'; give a file with --input"));
  }
  const std::optional<int64_t> row_elements = CheckedProduct(input.row_shape);
  const std::optional<int64_t> elements =
      row_elements.has_value() ? CheckedMul(*row_elements, rows) : std::nullopt;
  const std::optional<int64_t> bytes =
      elements.has_value() ? CheckedMul(*elements, DTypeSize(input.dtype)) : std::nullopt;
  if (!bytes.has_value() || *bytes > kMaxRandomBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(rows, " rows of input '", input.name,
                                                     "' take more than ", kMaxRandomBytes,
                                                     " bytes; lower --batch"));
  }
  std::mt19937_64 random(seed);
  const int digits = RandomDigits(input.dtype);
  RowSet set;
  set.rows = rows;
  set.bytes.reserve(static_cast<size_t>(*bytes));
  for (int64_t i = 0; i < *elements; ++i) {
    const uint64_t bits = random() >> 40;
    const double value = digits > 0
                             ? std::ldexp(static_cast<double>(bits >> (24 - digits)), -digits)
                         : input.dtype == DType::kBool ? static_cast<double>(bits & 1)
                                                       : static_cast<double>(bits & 127);
    AppendAs(input.dtype, value, set.bytes);
  }
  return set;
}

}  // namespace bitmill
