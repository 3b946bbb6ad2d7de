// Memory whose ends touch pages that fault: an access one byte outside stops the test.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/check.h"

namespace bitmill::test {

// Which end of the data touches its guard page.
enum class Flush { kFront, kBack };

// One region, used again for every case: Place() hands out `count` elements at one of its ends,
// filled with 0xcd. The elements live until the next Place().
class GuardedRegion {
 public:
  explicit GuardedRegion(size_t capacity_bytes = size_t{1} << 24) {
    page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    capacity_ = (capacity_bytes + page_ - 1) / page_ * page_;
    void* base =
        mmap(nullptr, capacity_ + 2 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BITMILL_CHECK(base != MAP_FAILED);
    base_ = static_cast<std::byte*>(base);
    BITMILL_CHECK(mprotect(base_ + page_, capacity_, PROT_READ | PROT_WRITE) == 0);
  }
  ~GuardedRegion() { munmap(base_, capacity_ + 2 * page_); }
  GuardedRegion(const GuardedRegion&) = delete;
  GuardedRegion& operator=(const GuardedRegion&) = delete;

  template <typename T>
  T* Place(size_t count, Flush flush) {
    const size_t bytes = count * sizeof(T);
    BITMILL_CHECK(bytes <= capacity_);
    std::byte* data = base_ + page_ + (flush == Flush::kFront ? 0 : capacity_ - bytes);
    std::memset(data, 0xcd, bytes);
    return reinterpret_cast<T*>(data);
  }

  // Places a copy of `values`.
  template <typename Container>
  auto* PlaceCopy(const Container& values, Flush flush) {
    using T = typename Container::value_type;
    T* data = Place<T>(values.size(), flush);
    if (!values.empty()) std::memcpy(data, values.data(), values.size() * sizeof(T));
    return data;
  }

 private:
  size_t page_ = 0;
  size_t capacity_ = 0;
  std::byte* base_ = nullptr;
};

}  // namespace bitmill::test
