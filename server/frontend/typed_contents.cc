#include "server/frontend/typed_contents.h"

#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "server/frontend/wire.h"

namespace bitmill {
namespace {

absl::string_view FieldName(ContentsField field) {
  const std::string_view name = kContentsFieldNames[static_cast<size_t>(field)];
  return {name.data(), name.size()};
}

// Appends elements of type T, checked to fit, at `to`.
template <typename T>
absl::Status StoreNumber(ContentsField field, uint64_t bits, std::byte*& to) {
  bool fits = true;
  T value{};
  if constexpr (std::is_same_v<T, bool>) {
    value = bits != 0;
  } else if (field == ContentsField::kInt) {  // int32 on the wire: the low half counts
    const auto number = static_cast<int32_t>(static_cast<uint32_t>(bits));
    value = static_cast<T>(number);
    fits = std::in_range<T>(number);
    bits = static_cast<uint64_t>(int64_t{number});
  } else if (field == ContentsField::kUInt) {
    const auto number = static_cast<uint32_t>(bits);
    value = static_cast<T>(number);
    fits = std::in_range<T>(number);
  } else {
    value = static_cast<T>(bits);
  }
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat("the value ", static_cast<int64_t>(bits), " in ",
                                                   FieldName(field),
                                                   " is outside the datatype's range"));
  }
  std::memcpy(to, &value, sizeof(value));
  to += sizeof(value);
  return absl::OkStatus();
}

using StoreFunction = absl::Status (*)(ContentsField, uint64_t, std::byte*&);

StoreFunction StoreFunctionOf(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return StoreNumber<bool>;
    case DType::kInt8:
      return
          [](ContentsField f, uint64_t b, std::byte*& t) { return StoreNumber<int8_t>(f, b, t); };
    case DType::kInt16:
      return
          [](ContentsField f, uint64_t b, std::byte*& t) { return StoreNumber<int16_t>(f, b, t); };
    case DType::kInt32:
      return
          [](ContentsField f, uint64_t b, std::byte*& t) { return StoreNumber<int32_t>(f, b, t); };
    case DType::kUInt8:
      return
          [](ContentsField f, uint64_t b, std::byte*& t) { return StoreNumber<uint8_t>(f, b, t); };
    case DType::kUInt16:
      return
          [](ContentsField f, uint64_t b, std::byte*& t) { return StoreNumber<uint16_t>(f, b, t); };
    case DType::kUInt32:
      return
          [](ContentsField f, uint64_t b, std::byte*& t) { return StoreNumber<uint32_t>(f, b, t); };
    case DType::kInt64:
    case DType::kUInt64:
      return
          [](ContentsField f, uint64_t b, std::byte*& t) { return StoreNumber<uint64_t>(f, b, t); };
    default:
      return nullptr;
  }
}

// Copies the float or double elements of one part.
void StoreFloats(std::string_view bytes, size_t width, std::byte*& to) {
  std::memcpy(to, bytes.data(), bytes.size() / width * width);
  to += bytes.size();
}

// Walks the elements of one part; the part was checked when it was parsed.
absl::Status StorePart(std::string_view part, ContentsField wanted, DType dtype, std::byte*& to) {
  const StoreFunction store = StoreFunctionOf(dtype);
  WireReader reader(part);
  while (!reader.done()) {
    WireTag tag;
    BITMILL_CHECK(reader.ReadTag(tag));
    if (tag.field != static_cast<uint32_t>(wanted)) {
      BITMILL_CHECK(reader.Skip(tag));
      continue;
    }
    std::string_view packed;
    uint64_t bits = 0;
    uint32_t half = 0;
    if (tag.type == WireType::kBytes) {
      BITMILL_CHECK(reader.ReadBytes(packed));
      if (store == nullptr) {
        StoreFloats(packed, static_cast<size_t>(DTypeSize(dtype)), to);
        continue;
      }
      WireReader numbers(packed);
      while (!numbers.done()) {
        BITMILL_CHECK(numbers.ReadVarint(bits));
        BITMILL_RETURN_IF_ERROR(store(wanted, bits, to));
      }
    } else if (tag.type == WireType::kVarint && store != nullptr) {
      BITMILL_CHECK(reader.ReadVarint(bits));
      BITMILL_RETURN_IF_ERROR(store(wanted, bits, to));
    } else if (tag.type == WireType::kFixed32 && dtype == DType::kFloat32) {
      BITMILL_CHECK(reader.ReadFixed(half));
      StoreFloats({reinterpret_cast<const char*>(&half), sizeof(half)}, sizeof(half), to);
    } else if (tag.type == WireType::kFixed64 && dtype == DType::kFloat64) {
      BITMILL_CHECK(reader.ReadFixed(bits));
      StoreFloats({reinterpret_cast<const char*>(&bits), sizeof(bits)}, sizeof(bits), to);
    } else {
      BITMILL_CHECK(reader.Skip(tag));
    }
  }
  return absl::OkStatus();
}

// The elements when one packed float or double field holds all of them; otherwise null.
const std::byte* WholeInPlace(const ContentsView& contents, ContentsField field, size_t bytes) {
  if (contents.parts.size() != 1) return nullptr;
  WireReader reader(contents.parts.front());
  while (!reader.done()) {
    WireTag tag;
    BITMILL_CHECK(reader.ReadTag(tag));
    std::string_view packed;
    if (tag.field != static_cast<uint32_t>(field) || tag.type != WireType::kBytes) {
      BITMILL_CHECK(reader.Skip(tag));
      continue;
    }
    BITMILL_CHECK(reader.ReadBytes(packed));
    if (packed.size() == bytes) return reinterpret_cast<const std::byte*>(packed.data());
  }
  return nullptr;
}

}  // namespace

std::optional<ContentsField> ContentsFieldOf(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return ContentsField::kBool;
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32:
      return ContentsField::kInt;
    case DType::kInt64:
      return ContentsField::kInt64;
    case DType::kUInt8:
    case DType::kUInt16:
    case DType::kUInt32:
      return ContentsField::kUInt;
    case DType::kUInt64:
      return ContentsField::kUInt64;
    case DType::kFloat32:
      return ContentsField::kFloat;
    case DType::kFloat64:
      return ContentsField::kDouble;
    case DType::kBytes:
      return ContentsField::kBytes;
    default:
      return std::nullopt;
  }
}

absl::StatusOr<PackedContents> PackContents(const ContentsView& contents, DType dtype,
                                            int64_t elements) {
  const std::optional<ContentsField> field = ContentsFieldOf(dtype);
  if (!field || *field == ContentsField::kBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "datatype ", DTypeName(dtype), " has no typed contents; send raw_input_contents"));
  }
  for (size_t i = 0; i < kContentsFields; ++i) {
    if (contents.counts[i] != 0 && i != static_cast<size_t>(*field)) {
      return absl::InvalidArgumentError(
          absl::StrCat("has ", FieldName(static_cast<ContentsField>(i)), ", datatype ",
                       DTypeName(dtype), " wants ", FieldName(*field)));
    }
  }
  const uint64_t count = contents.counts[static_cast<size_t>(*field)];
  if (count != static_cast<uint64_t>(elements)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "has ", count, " elements in ", FieldName(*field), ", its shape wants ", elements));
  }
  // The memory is bounded by the message: every element took at least one byte of it.
  const std::optional<int64_t> bytes = CheckedMul(elements, DTypeSize(dtype));
  if (!bytes) return absl::InvalidArgumentError("is too large");
  PackedContents packed;
  if (*field == ContentsField::kFloat || *field == ContentsField::kDouble) {
    packed.data = WholeInPlace(contents, *field, static_cast<size_t>(*bytes));
    if (packed.data != nullptr) return packed;
  }
  packed.owned = std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(*bytes));
  packed.data = packed.owned.get();
  std::byte* to = packed.owned.get();
  for (const std::string_view part : contents.parts) {
    BITMILL_RETURN_IF_ERROR(StorePart(part, *field, dtype, to));
  }
  BITMILL_CHECK(to == packed.owned.get() + *bytes);
  return packed;
}

}  // namespace bitmill
