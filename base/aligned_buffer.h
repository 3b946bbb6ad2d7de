// Owned memory on a cache-line boundary, zero-filled, with the alignment kernels want.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/check.h"

namespace bitmill {

inline constexpr int64_t kCacheLineBytes = 64;

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // `bytes` is at least 0; the allocation is rounded up to whole cache lines. Aborts when the
  // machine has no memory left: callers bound sizes that come from outside first.
  explicit AlignedBuffer(int64_t bytes) : size_(bytes) {
    BITMILL_CHECK(bytes >= 0 && bytes < (int64_t{1} << 46));
    const size_t rounded = (static_cast<size_t>(bytes) / kCacheLineBytes + 1) * kCacheLineBytes;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(kCacheLineBytes, rounded)));
    BITMILL_CHECK(data_ != nullptr);
    std::memset(data_.get(), 0, rounded);
  }

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  int64_t size() const { return size_; }

  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_.get());
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_.get());
  }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  std::unique_ptr<std::byte, Free> data_;
  int64_t size_ = 0;
};

}  // namespace bitmill
