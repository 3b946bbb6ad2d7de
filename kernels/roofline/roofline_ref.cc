// Plain C++ with several chains; empty assembly keeps the compiler from knowing the operands.
#include "kernels/roofline/roofline_loops.h"

namespace bitmill {
namespace {

constexpr int kChains = 4;
constexpr int64_t kWordBits = 64;

template <typename T>
inline void Hide(T* value) {
  __asm__ volatile("" : "+r"(*value));
}

inline void HideFloat(float* value) {
#if defined(BITMILL_X86)
  __asm__ volatile("" : "+x"(*value));
#elif defined(BITMILL_ARM)
  __asm__ volatile("" : "+w"(*value));
#else
  __asm__ volatile("" : "+m"(*value));
#endif
}

}  // namespace

int64_t BitMacsRef(int64_t turns) {
  uint64_t sums[kChains] = {};
  uint64_t a = 0x0123456789abcdef, b = 0x0f0f0f0f3c3c3c3c;
  for (int64_t i = 0; i < turns; ++i) {
    for (uint64_t& sum : sums) {
      Hide(&a);
      sum += static_cast<uint64_t>(__builtin_popcountll(a ^ b));
    }
  }
  for (uint64_t& sum : sums) Hide(&sum);
  return kChains * kWordBits;
}

int64_t TernaryBitMacsRef(int64_t turns) {
  uint64_t sums[kChains] = {};
  uint64_t a = 0x0123456789abcdef, b = 0x0f0f0f0f3c3c3c3c, mask = 0x7777777777777777;
  for (int64_t i = 0; i < turns; ++i) {
    for (uint64_t& sum : sums) {
      Hide(&a);
      sum += static_cast<uint64_t>(__builtin_popcountll((a ^ b) & mask));
    }
  }
  for (uint64_t& sum : sums) Hide(&sum);
  return kChains * kWordBits;
}

int64_t Int8MacsRef(int64_t turns) {
  int32_t sums[kChains] = {};
  int32_t a = 3, b = -2;
  for (int64_t i = 0; i < turns; ++i) {
    for (int32_t& sum : sums) {
      Hide(&a);
      sum += a * b;
    }
  }
  for (int32_t& sum : sums) Hide(&sum);
  return kChains;
}

int64_t FloatMacsRef(int64_t turns) {
  float sums[kChains * 2] = {};
  float a = 1.5f;
  for (int64_t i = 0; i < turns; ++i) {
    for (float& sum : sums) {
      HideFloat(&a);
      sum += a * 0.25f;
    }
  }
  for (float& sum : sums) HideFloat(&sum);
  return kChains * 2;
}

void ReadRef(const uint8_t* data, int64_t bytes) {
  const uint64_t* words = reinterpret_cast<const uint64_t*>(data);
  uint64_t any = 0;
  for (int64_t i = 0; i < bytes / 8; i += 4) {
    any |= words[i] | words[i + 1] | words[i + 2] | words[i + 3];
  }
  Hide(&any);
}

}  // namespace bitmill
