// A fast hash of many bytes, to notice that they are not the same: changed files, damaged files.
// No defence against somebody who looks for two inputs with the same hash.
//
// Eight independent lanes of 64 bits, each the two halves of (lane xor word) * constant, folded:
// the loop needs a wide multiplication and two exclusive ors for 8 bytes, none waiting for the
// last, so that plain C++ keeps up with memory on any machine. Every bit of a word reaches every
// bit of its lane at once: what a later word would have to be to cancel it is no simple pattern of
// bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bitmill {

// Bytes may come in pieces; only their sequence counts. The same on every machine of the same byte
// order.
class Hasher {
 public:
  Hasher();
  void Add(const void* data, size_t bytes);
  // Once, in the end.
  uint64_t Finish();

 private:
  static constexpr size_t kLanes = 8;
  static constexpr size_t kBlockBytes = kLanes * sizeof(uint64_t);

  void AddBlocks(const std::byte* data, size_t blocks);

  std::array<uint64_t, kLanes> lanes_;
  std::array<std::byte, kBlockBytes> rest_{};  // what did not fill a block yet
  size_t rest_bytes_ = 0;
  uint64_t bytes_ = 0;
};

uint64_t HashBytes(const void* data, size_t bytes);

}  // namespace bitmill
