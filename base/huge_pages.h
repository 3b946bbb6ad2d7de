// Memory for what lives long and is read from end to end, packed weights above all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace bitmill {

// `bytes` (at least 0) zeroed bytes on a cache line. From 2 MiB on, in pages of 2 MiB where the
// system has some to give (madvise): processors fetch ahead only to the end of a page. At most 2
// MiB more memory. Aborts when the machine has no memory left, as AlignedBuffer does.
std::shared_ptr<std::byte> AllocateInHugePages(int64_t bytes);

}  // namespace bitmill
