#include "kernels/roofline/roofline.h"

#include <time.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#include "kernels/cache_sizes.h"
#include "kernels/roofline/roofline_loops.h"

namespace bitmill {
namespace {

constexpr double kBurstSeconds = 1e-3;
constexpr int kMinBursts = 5;
constexpr int64_t kMiB = 1024 * 1024;
constexpr int64_t kMostReadBytes = 256 * kMiB;
// Four planes of products, each a bit, make a product of 2 x 2 bits.
constexpr double kPlanes = 4;

struct Products {
  MacLoopFn loop;
  double loops_a_product = 1;  // of those that `loop` counts
};

struct Loops {
  const char* bit_form;
  Products bit, bit_popcount, ternary_bit, two_bit, int8, fp32;
  ReadLoopFn read;
};

Loops LoopsOf(Isa level) {
#if defined(BITMILL_X86)
  switch (level) {
    case Isa::kAmx:
      return {"tdpbusd of bits as bytes",
              {ByteMacsAmx},
              {BitPopcountMacsAvx512Vpopcnt},
              {ByteMacsAmx},
              {ByteMacsAmx},
              {ByteMacsAmx},
              {FloatMacsAvx512},
              ReadAvx512};
    case Isa::kAvx512Vpopcnt:
      return {"xor, vpopcntq, vpaddq",
              {BitPopcountMacsAvx512Vpopcnt},
              {BitPopcountMacsAvx512Vpopcnt},
              {TernaryBitMacsAvx512Vpopcnt},
              {TwoBitMacsAvx512Vpopcnt},
              {Int8MacsAvx512Vpopcnt},
              {FloatMacsAvx512},
              ReadAvx512};
    case Isa::kAvx512:
      // The mask costs nothing beside vpternlog, which carry-save addition is made of.
      return {"carry-save addition by vpternlogq",
              {BitCarrySaveMacsAvx512},
              {BitPopcountMacsAvx512},
              {BitCarrySaveMacsAvx512},
              {BitCarrySaveMacsAvx512, kPlanes},
              {Int8MacsAvx512},
              {FloatMacsAvx512},
              ReadAvx512};
    case Isa::kAvxVnni: {
      Loops loops = LoopsOf(Isa::kAvx2);
      loops.int8 = {Int8MacsAvxVnni};
      return loops;
    }
    case Isa::kAvx2:
      // Ternary: one lookup for +1, one for -1. Two products of 2 x 2 bits have one index.
      return {"vpshufb lookup of 4 bits of two pixels",
              {BitPairLookupMacsAvx2},
              {BitPopcountMacsAvx2},
              {BitPairLookupMacsAvx2, 2},
              {BitLookupMacsAvx2, 2},
              {Int8MacsAvx2},
              {FloatMacsAvx2},
              ReadAvx2};
    case Isa::kNeon:
    case Isa::kRef:
      break;
  }
#elif defined(BITMILL_ARM)
  if (level == Isa::kNeon) {
    return {"eor, cnt, add",
            {BitPopcountMacsNeon},
            {BitPopcountMacsNeon},
            {TernaryBitMacsNeon},
            {BitPopcountMacsNeon, kPlanes},
            {Int8MacsNeon},
            {FloatMacsNeon},
            ReadNeon};
  }
#endif
  return {"xor, popcount, add",  {BitMacsRef},  {BitMacsRef},   {TernaryBitMacsRef},
          {BitMacsRef, kPlanes}, {Int8MacsRef}, {FloatMacsRef}, ReadRef};
}

const Products& ProductsOf(const Loops& loops, Ceiling ceiling) {
  switch (ceiling) {
    case Ceiling::kBitPopcount:
      return loops.bit_popcount;
    case Ceiling::kTernaryBit:
      return loops.ternary_bit;
    case Ceiling::kTwoBit:
      return loops.two_bit;
    case Ceiling::kLowBitInt8:
      return loops.int8;
    case Ceiling::kFp32:
      return loops.fp32;
    default:
      return loops.bit;
  }
}

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double WallSeconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

// The loops read blocks of so many bytes.
int64_t RoundToBlocks(int64_t bytes) { return (bytes + 511) / 512 * 512; }

// Bytes that one of `threads` loops goes over; 0 for arithmetic. The third level is shared.
int64_t WorkingSet(Ceiling ceiling, int threads) {
  const CacheSizes& caches = MachineCaches();
  int64_t bytes = 0;
  if (ceiling == Ceiling::kReadL1) bytes = caches.l1 / 2;
  if (ceiling == Ceiling::kReadL2) bytes = caches.l2 / 2;
  if (ceiling == Ceiling::kReadL3) {
    bytes = std::max(caches.l2 * 2, std::min(caches.l3 / 4, 8 * kMiB) / threads);
  }
  if (ceiling == Ceiling::kReadDram) {
    bytes = std::min(std::max(caches.l3 * 4, 64 * kMiB), kMostReadBytes) / threads;
  }
  return RoundToBlocks(bytes);
}

// Several streams side by side: beyond the second cache they are delivered faster than one, whose
// prefetches stop at every page.
void ReadInStreams(ReadLoopFn read, const uint8_t* data, int64_t bytes) {
  constexpr int64_t kStreams = 8, kPieceBytes = 512;
  const int64_t stream_bytes = bytes / kStreams / kPieceBytes * kPieceBytes;
  for (int64_t at = 0; at < stream_bytes; at += kPieceBytes) {
    for (int64_t i = 0; i < kStreams; ++i) read(data + i * stream_bytes + at, kPieceBytes);
  }
  read(data + kStreams * stream_bytes, bytes - kStreams * stream_bytes);
}

// Units a second of wall time that `threads` loops do together in the best of several windows.
double BestRateOfThreads(Isa level, Ceiling ceiling, int threads, double seconds) {
  constexpr double kWindowSeconds = 10e-3;
  const int windows = std::max(2, static_cast<int>(seconds / kWindowSeconds));
  std::vector<double> rates(static_cast<size_t>(threads * windows));
  std::barrier start(threads);
  const auto work = [&](int thread) {
    CeilingLoop loop(level, ceiling, threads);
    for (int window = 0; window < windows; ++window) {
      start.arrive_and_wait();
      const double begin = WallSeconds();
      double done = 0;
      double elapsed = 0;
      do {
        done += loop.Burst();
        elapsed = WallSeconds() - begin;
      } while (elapsed < kWindowSeconds);
      rates[size_t(window) * size_t(threads) + size_t(thread)] = done / elapsed;
    }
  };
  std::vector<std::thread> workers;
  for (int thread = 1; thread < threads; ++thread) workers.emplace_back(work, thread);
  work(0);
  for (std::thread& worker : workers) worker.join();
  double best = 0;
  for (int window = 0; window < windows; ++window) {
    const auto first = rates.begin() + window * threads;
    best = std::max(best, std::accumulate(first, first + threads, 0.0));
  }
  return best;
}

double BestRate(Isa level, Ceiling ceiling, double seconds) {
  const double start = ThreadSeconds();
  CeilingLoop loop(level, ceiling);
  double best = 0;
  for (int i = 0; i < kMinBursts || ThreadSeconds() - start < seconds; ++i) {
    best = std::max(best, loop.BurstRate());
  }
  return best;
}

}  // namespace

const std::array<CeilingInfo, kCeilingCount>& CeilingInfos() {
  static constexpr std::array<CeilingInfo, kCeilingCount> kInfos = {{
      {Ceiling::kBit, "bit_macs_per_s", "1 x 1 bit products, best form", "MAC/s"},
      {Ceiling::kBitPopcount, "bit_popcount_macs_per_s", "1 x 1 bit products, popcount", "MAC/s"},
      {Ceiling::kTernaryBit, "ternary_bit_macs_per_s", "ternary x 1 bit products", "MAC/s"},
      {Ceiling::kTwoBit, "two_bit_macs_per_s", "2 x 2 bit products", "MAC/s"},
      {Ceiling::kLowBitInt8, "low_bit_int8_macs_per_s", "low-bit x int8 products", "MAC/s"},
      {Ceiling::kFp32, "fp32_macs_per_s", "fp32 products", "MAC/s"},
      {Ceiling::kReadL1, "l1_bytes_per_s", "reads from L1", "B/s"},
      {Ceiling::kReadL2, "l2_bytes_per_s", "reads from L2", "B/s"},
      {Ceiling::kReadL3, "l3_bytes_per_s", "reads from L3", "B/s"},
      {Ceiling::kReadDram, "dram_bytes_per_s", "reads from memory", "B/s"},
  }};
  return kInfos;
}

CeilingLoop::CeilingLoop(Isa level, Ceiling ceiling, int threads, int64_t bytes) {
  const Loops loops = LoopsOf(level);
  const int64_t own = WorkingSet(ceiling, threads);
  if (own > 0) {
    bytes = bytes == 0 ? own : RoundToBlocks(std::min(bytes, kMostReadBytes));
    buffer_ = AlignedBuffer(bytes);
    std::memset(buffer_.data(), 1, static_cast<size_t>(bytes));
    const bool streams = bytes > MachineCaches().l2;
    run_ = [read = loops.read, data = buffer_.as<uint8_t>(), bytes, streams](int64_t turns) {
      for (int64_t i = 0; i < turns; ++i) {
        streams ? ReadInStreams(read, data, bytes) : read(data, bytes);
      }
      return static_cast<double>(bytes);
    };
  } else {
    run_ = [products = ProductsOf(loops, ceiling)](int64_t turns) {
      return static_cast<double>(products.loop(turns)) / products.loops_a_product;
    };
  }
  for (;;) {  // until one burst lasts long enough for the clock
    const double before = ThreadSeconds();
    Burst();
    const double elapsed = ThreadSeconds() - before;
    if (elapsed >= kBurstSeconds / 4 || turns_ > (int64_t{1} << 40)) {
      const double scale = std::max(1.0, kBurstSeconds / std::max(elapsed, 1e-9));
      turns_ = static_cast<int64_t>(static_cast<double>(turns_) * scale);
      return;
    }
    turns_ *= 2;
  }
}

double CeilingLoop::BurstRate() {
  double elapsed = 0;
  double done = 0;
  do {
    const double before = ThreadSeconds();
    done = Burst();
    elapsed = ThreadSeconds() - before;
  } while (elapsed <= 0);
  return done / elapsed;
}

Roofline MeasureRoofline(Isa level, double seconds, int threads) {
  Roofline roofline;
  roofline.level = level;
  roofline.threads = threads;
  roofline.bit_form = LoopsOf(level).bit_form;
  for (const CeilingInfo& info : CeilingInfos()) {
    const double share = seconds / kCeilingCount;
    roofline[info.ceiling] = threads > 1 ? BestRateOfThreads(level, info.ceiling, threads, share)
                                         : BestRate(level, info.ceiling, share);
  }
  return roofline;
}

Ceiling ReadLevel(double bytes) {
  const CacheSizes& caches = MachineCaches();
  if (bytes <= static_cast<double>(caches.l1)) return Ceiling::kReadL1;
  if (bytes <= static_cast<double>(caches.l2)) return Ceiling::kReadL2;
  if (bytes <= static_cast<double>(caches.l3)) return Ceiling::kReadL3;
  return Ceiling::kReadDram;
}

}  // namespace bitmill
