// Values as bytes and back, little-endian, for files that this program writes for itself.
//
// A struct lists its fields once, in a function that serves both directions:
//
//   template <typename Codec> void Fields(Codec& codec, Border& border) {
//     codec(border.top, border.left, border.bottom, border.right, border.fill);
//   }
//
// found by argument-dependent lookup. Enumerations need `constexpr E LastOf(E)`, their greatest
// value. A file that needs more than this derives its own codecs (`Self` is the derived class) and
// overloads Fields for them; otherwise PlainEncoder and PlainDecoder do. The decoder trusts
// nothing: each length is checked against the bytes that are left, each enumerator against its
// last; after the first error everything reads as zero or empty and ok() is false.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/string_view.h"

namespace bitmill {

static_assert(std::endian::native == std::endian::little, "plan files are little-endian");

template <typename T>
concept PlainNumber = std::is_arithmetic_v<T> && !std::same_as<T, bool>;
template <typename T>
concept Listed = std::is_class_v<T> && !std::same_as<T, std::string>;  // has fields

template <typename Self>
class ByteEncoder {
 public:
  static constexpr bool kReads = false;

  template <typename... T>
  void operator()(T&... fields) {
    (Put(fields), ...);
  }

  const std::string& bytes() const { return bytes_; }
  std::string Take() { return std::move(bytes_); }

 private:
  void Append(const void* data, size_t bytes) {
    bytes_.append(static_cast<const char*>(data), bytes);
  }
  void PutCount(size_t count) {
    const auto value = static_cast<uint64_t>(count);
    Append(&value, sizeof(value));
  }
  void Put(bool value) {
    const uint8_t byte = value ? 1 : 0;
    Append(&byte, 1);
  }
  template <typename T>
  requires(PlainNumber<T> || std::is_enum_v<T>) void Put(T value) { Append(&value, sizeof(value)); }
  void Put(const std::string& text) {
    PutCount(text.size());
    Append(text.data(), text.size());
  }
  template <typename T>
  void Put(std::vector<T>& list) {
    PutCount(list.size());
    if constexpr (PlainNumber<T>) {
      Append(list.data(), list.size() * sizeof(T));
    } else {
      for (T& item : list) Put(item);
    }
  }
  template <Listed T>
  void Put(T& value) {
    Fields(static_cast<Self&>(*this), value);
  }

  std::string bytes_;
};

template <typename Self>
class ByteDecoder {
 public:
  static constexpr bool kReads = true;

  // `bytes` outlives the decoder.
  explicit ByteDecoder(absl::string_view bytes) : left_(bytes) {}

  template <typename... T>
  void operator()(T&... fields) {
    (Get(fields), ...);
  }

  bool ok() const { return ok_; }
  // All was well and nothing is left.
  bool AtEnd() const { return ok_ && left_.empty(); }
  void Fail() {
    ok_ = false;
    left_ = {};
  }

 private:
  void Copy(void* data, size_t bytes) {
    if (bytes > left_.size()) return Fail();
    if (bytes > 0) std::memcpy(data, left_.data(), bytes);
    left_.remove_prefix(bytes);
  }
  // Of items that take at least `least` bytes each.
  size_t GetCount(size_t least) {
    uint64_t count = 0;
    Copy(&count, sizeof(count));
    if (count > left_.size() / least) {
      Fail();
      return 0;
    }
    return static_cast<size_t>(count);
  }
  void Get(bool& value) {
    uint8_t byte = 0;
    Copy(&byte, 1);
    if (byte > 1) Fail();
    value = byte == 1;
  }
  template <PlainNumber T>
  void Get(T& value) {
    value = T{};
    Copy(&value, sizeof(value));
    if (!ok_) value = T{};
  }
  template <typename T>
  requires std::is_enum_v<T>
  void Get(T& value) {
    std::underlying_type_t<T> number{};
    Get(number);
    if (number < 0 || number > static_cast<std::underlying_type_t<T>>(LastOf(T{}))) {
      Fail();
      number = 0;
    }
    value = static_cast<T>(number);
  }
  void Get(std::string& text) {
    const size_t count = GetCount(1);
    text.assign(left_.data(), count);
    left_.remove_prefix(count);
  }
  template <typename T>
  void Get(std::vector<T>& list) {
    list.clear();
    if constexpr (PlainNumber<T>) {
      list.resize(GetCount(sizeof(T)));
      Copy(list.data(), list.size() * sizeof(T));
    } else {
      const size_t count = GetCount(1);
      for (size_t i = 0; i < count && ok_; ++i) Get(list.emplace_back());
    }
  }
  template <Listed T>
  void Get(T& value) {
    Fields(static_cast<Self&>(*this), value);
  }

  absl::string_view left_;
  bool ok_ = true;
};

class PlainEncoder final : public ByteEncoder<PlainEncoder> {};

class PlainDecoder final : public ByteDecoder<PlainDecoder> {
 public:
  using ByteDecoder::ByteDecoder;
};

}  // namespace bitmill
