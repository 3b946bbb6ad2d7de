#include "base/huge_pages.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/check.h"

namespace bitmill {
namespace {

constexpr int64_t kHugePageBytes = int64_t{2} << 20;

}  // namespace

std::shared_ptr<std::byte> AllocateInHugePages(int64_t bytes) {
  if (bytes < kHugePageBytes) {
    auto buffer = std::make_shared<AlignedBuffer>(bytes);
    std::byte* const data = buffer->data();
    return {std::move(buffer), data};
  }
  BITMILL_CHECK(bytes < (int64_t{1} << 46));
  const auto page = static_cast<size_t>(kHugePageBytes);
  const size_t rounded = (static_cast<size_t>(bytes) + page - 1) / page * page;
  auto* const data = static_cast<std::byte*>(std::aligned_alloc(page, rounded));
  BITMILL_CHECK(data != nullptr);
  // A wish: where there are none, usual pages do.
  madvise(data, rounded, MADV_HUGEPAGE);
  std::memset(data, 0, rounded);
  return {data, [](std::byte* memory) { std::free(memory); }};
}

}  // namespace bitmill
