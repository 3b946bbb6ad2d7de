#include "base/hash.h"

#include <algorithm>
#include <cstring>

namespace bitmill {
namespace {

// Odd, with bits spread evenly: 2^64 divided by the golden ratio, and the multipliers of the
// finalizer of splitmix64.
constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
constexpr uint64_t kFirstMix = 0xbf58476d1ce4e5b9;
constexpr uint64_t kSecondMix = 0x94d049bb133111eb;

// Both halves of the product, folded.
uint64_t Fold(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * kFirstMix;
  x = (x ^ (x >> 27)) * kSecondMix;
  return x ^ (x >> 31);
}

}  // namespace

Hasher::Hasher() {
  for (size_t i = 0; i < kLanes; ++i) lanes_[i] = Mix(kMultiplier * (i + 1));
}

void Hasher::AddBlocks(const std::byte* data, size_t blocks) {
  std::array<uint64_t, kLanes> lanes = lanes_;
  for (size_t b = 0; b < blocks; ++b) {
    for (size_t i = 0; i < kLanes; ++i) {
      uint64_t word = 0;
      std::memcpy(&word, data + b * kBlockBytes + i * sizeof(word), sizeof(word));
      lanes[i] = Fold(lanes[i] ^ word, kMultiplier);
    }
  }
  lanes_ = lanes;
}

void Hasher::Add(const void* data, size_t bytes) {
  const auto* from = static_cast<const std::byte*>(data);
  bytes_ += bytes;
  if (rest_bytes_ > 0) {
    const size_t count = std::min(bytes, kBlockBytes - rest_bytes_);
    std::copy_n(from, count, rest_.data() + rest_bytes_);
    rest_bytes_ += count;
    from += count;
    bytes -= count;
    if (rest_bytes_ < kBlockBytes) return;
    AddBlocks(rest_.data(), 1);
    rest_bytes_ = 0;
  }
  AddBlocks(from, bytes / kBlockBytes);
  const size_t left = bytes % kBlockBytes;
  std::copy_n(from + (bytes - left), left, rest_.data());
  rest_bytes_ = left;
}

uint64_t Hasher::Finish() {
  if (rest_bytes_ > 0) {
    std::fill(rest_.begin() + static_cast<std::ptrdiff_t>(rest_bytes_), rest_.end(), std::byte{0});
    AddBlocks(rest_.data(), 1);
  }
  uint64_t hash = Mix(bytes_ + kMultiplier);
  for (const uint64_t lane : lanes_) hash = Mix(hash ^ lane) * kMultiplier;
  return Mix(hash);
}

uint64_t HashBytes(const void* data, size_t bytes) {
  Hasher hasher;
  hasher.Add(data, bytes);
  return hasher.Finish();
}

}  // namespace bitmill
