#include "kernels/roofline/roofline.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/aligned_buffer.h"
#include "kernels/roofline/roofline_loops.h"

namespace bitmill {
namespace {

constexpr double kBurstSeconds = 1e-3;
constexpr int64_t kMinBursts = 5;
constexpr int64_t kKiB = 1024;
constexpr int64_t kMiB = 1024 * kKiB;

struct Loops {
  const char* bit_form;
  MacLoopFn bit, bit_popcount, int8, fp32;
  ReadLoopFn read;
};

Loops LoopsOf(Isa level) {
#if defined(BITMILL_X86)
  switch (level) {
    case Isa::kAvx512Vpopcnt:
      return {"xor, vpopcntq, vpaddq",
              BitPopcountMacsAvx512Vpopcnt,
              BitPopcountMacsAvx512Vpopcnt,
              Int8MacsAvx512Vpopcnt,
              FloatMacsAvx512,
              ReadAvx512};
    case Isa::kAvx512:
      return {"carry-save addition by vpternlogq",
              BitCarrySaveMacsAvx512,
              BitPopcountMacsAvx512,
              Int8MacsAvx512,
              FloatMacsAvx512,
              ReadAvx512};
    case Isa::kAvx2:
      return {"vpshufb lookup of 4 bits",
              BitLookupMacsAvx2,
              BitPopcountMacsAvx2,
              Int8MacsAvx2,
              FloatMacsAvx2,
              ReadAvx2};
    case Isa::kNeon:
    case Isa::kRef:
      break;
  }
#elif defined(BITMILL_ARM)
  if (level == Isa::kNeon) {
    return {"eor, cnt, add", BitPopcountMacsNeon, BitPopcountMacsNeon,
            Int8MacsNeon,    FloatMacsNeon,       ReadNeon};
  }
#endif
  return {"xor, popcount, add", BitMacsRef, BitMacsRef, Int8MacsRef, FloatMacsRef, ReadRef};
}

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Best units per second of run(turns), which does `turns` times `units`; takes about `seconds`.
template <typename Run>
double BestRate(const Run& run, double seconds) {
  const double start = ThreadSeconds();
  int64_t turns = 1;
  double units = 0;
  double elapsed = 0;
  for (;;) {  // until one burst lasts long enough for the clock
    const double before = ThreadSeconds();
    units = run(turns);
    elapsed = ThreadSeconds() - before;
    if (elapsed >= kBurstSeconds / 4 || turns > (int64_t{1} << 40)) break;
    turns *= 2;
  }
  const double scale = std::max(1.0, kBurstSeconds / std::max(elapsed, 1e-9));
  turns = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(turns) * scale));
  double best = 0;
  for (int64_t i = 0; i < kMinBursts || ThreadSeconds() - start < seconds; ++i) {
    const double before = ThreadSeconds();
    units = run(turns);
    elapsed = ThreadSeconds() - before;
    if (elapsed > 0) best = std::max(best, units * static_cast<double>(turns) / elapsed);
  }
  return best;
}

double MacRate(MacLoopFn loop, double seconds) {
  return BestRate([loop](int64_t turns) { return static_cast<double>(loop(turns)); }, seconds);
}

double ReadRate(ReadLoopFn loop, const AlignedBuffer& buffer, int64_t bytes, double seconds) {
  const uint8_t* data = buffer.as<uint8_t>();
  return BestRate(
      [loop, data, bytes](int64_t turns) {
        for (int64_t i = 0; i < turns; ++i) loop(data, bytes);
        return static_cast<double>(bytes);
      },
      seconds);
}

struct CacheSizes {
  int64_t l1, l2, l3;
};

// What the C library says, or common sizes where it says nothing.
CacheSizes ReadCacheSizes() {
  const auto size = [](int name, int64_t otherwise) {
    const int64_t bytes = sysconf(name);
    return bytes > 0 ? bytes : otherwise;
  };
  return {size(_SC_LEVEL1_DCACHE_SIZE, 32 * kKiB), size(_SC_LEVEL2_CACHE_SIZE, 512 * kKiB),
          size(_SC_LEVEL3_CACHE_SIZE, 16 * kMiB)};
}

int64_t RoundUp(int64_t bytes) { return (bytes + 511) / 512 * 512; }

}  // namespace

Roofline MeasureRoofline(Isa level, double seconds) {
  const Loops loops = LoopsOf(level);
  const double share = seconds / 8;
  Roofline roofline = {};
  roofline.bit_form = loops.bit_form;
  roofline.bit_macs_per_s = MacRate(loops.bit, share);
  roofline.bit_popcount_macs_per_s = loops.bit_popcount == loops.bit
                                         ? roofline.bit_macs_per_s
                                         : MacRate(loops.bit_popcount, share);
  roofline.low_bit_int8_macs_per_s = MacRate(loops.int8, share);
  roofline.fp32_macs_per_s = MacRate(loops.fp32, share);

  const CacheSizes caches = ReadCacheSizes();
  const int64_t l3_bytes = std::max(caches.l2 * 4, std::min(caches.l3 / 4, 8 * kMiB));
  const int64_t dram_bytes = std::min(std::max(caches.l3 * 4, 64 * kMiB), 256 * kMiB);
  AlignedBuffer buffer(RoundUp(dram_bytes));
  std::memset(buffer.data(), 1, static_cast<size_t>(buffer.size()));
  roofline.l1_bytes_per_s = ReadRate(loops.read, buffer, RoundUp(caches.l1 / 2), share);
  roofline.l2_bytes_per_s = ReadRate(loops.read, buffer, RoundUp(caches.l2 / 2), share);
  roofline.l3_bytes_per_s = ReadRate(loops.read, buffer, RoundUp(l3_bytes), share);
  roofline.dram_bytes_per_s = ReadRate(loops.read, buffer, RoundUp(dram_bytes), share);
  return roofline;
}

double ReadCeiling(const Roofline& roofline, double bytes) {
  const CacheSizes caches = ReadCacheSizes();
  if (bytes <= static_cast<double>(caches.l1)) return roofline.l1_bytes_per_s;
  if (bytes <= static_cast<double>(caches.l2)) return roofline.l2_bytes_per_s;
  if (bytes <= static_cast<double>(caches.l3)) return roofline.l3_bytes_per_s;
  return roofline.dram_bytes_per_s;
}

}  // namespace bitmill
