// The loops of kernels/bdepth/bdepth.h over vectors of any width, compiled once for each
// instruction set. Everything is local to the file that includes it: an inline function that the
// linker shared between instruction sets would run the wrong one.
//
// With a stride of 1 the words of an output line and those that a tap meets lie one behind the
// other: a line is a run of words, cut into vectors whatever the number of channels. Otherwise each
// pixel is a run. The last vector of a run ends where the run ends and may overlap the one before,
// so no word outside is touched; runs shorter than a vector take a narrower one.
//
// Arithmetic of one vector of a 3x3 window: 9 exclusive ors, 7 additions of bits of which 5 take
// three and 2 take two (2 operations each), and 4 steps of the comparison: 27 operations for 576
// products a word where one operation takes three operands; 51 where none does.
//
// A vector type has: Type, kWords, Load, Store, And, Or, Xor, Xor3 and Majority (a bit that at
// least two of three have), Masked(m, a, b) = m and (a xor b).
#pragma once

#include <stdint.h>

#include "kernels/bdepth/bdepth.h"

namespace bitmill {
namespace {

constexpr int64_t kBdepthWordBits = 64;

// Counts of the bits added so far, the lowest plane first. (An array of planes would pass through
// memory from tap to tap.)
template <typename V, int kPlanes>
struct BdepthCount {
  using Type = typename V::Type;
  Type plane;
  BdepthCount<V, kPlanes - 1> higher;

  void Add(Type a) {
    const Type carry = V::And(plane, a);
    plane = V::Xor(plane, a);
    higher.Add(carry);
  }
  void AddTwo(Type a, Type b) {
    const Type carry = V::Majority(plane, a, b);
    plane = V::Xor3(plane, a, b);
    higher.Add(carry);
  }
  void AddThree(Type a, Type b, Type c) {
    const Type low = V::Xor3(a, b, c);
    const Type carry = V::And(plane, low);
    plane = V::Xor(plane, low);
    higher.AddTwo(V::Majority(a, b, c), carry);
  }
  // Whether counts are above the limits of which `limits` is the word in plane 0; `above`: of the
  // planes below.
  Type Above(const uint64_t* limits, int64_t plane_words, Type above) const {
    return higher.Above(limits + plane_words, plane_words,
                        V::Majority(plane, V::Load(limits), above));
  }
  void Store(uint64_t* planes) const {
    V::Store(planes, plane);
    higher.Store(planes + V::kWords);
  }
};

template <typename V>
struct BdepthCount<V, 0> {
  using Type = typename V::Type;
  void Add(Type) {}
  void AddTwo(Type, Type) {}
  Type Above(const uint64_t*, int64_t, Type above) const { return above; }
  void Store(uint64_t*) const {}
};

// What a loop is compiled for: planes of the weights and of the counts; 9 taps or any number.
template <int kWeightPlanesOf, int kCountPlanesOf, bool kNineOf>
struct BdepthForm {
  static constexpr int kWeightPlanes = kWeightPlanesOf;
  static constexpr int kCountPlanes = kCountPlanesOf;
  static constexpr bool kNine = kNineOf;
};

// The taps of a layer in registers: stores of words may change whatever lies in memory.
template <typename F, typename V>
struct BdepthTaps {
  using Type = typename V::Type;
  using Count = BdepthCount<V, F::kCountPlanes>;

  explicit BdepthTaps(const BdepthArgs& args)
      : tap_words(args.tap_words),
        taps(args.taps),
        weights(args.weights),
        line(args.c_words + kBdepthRepeatWords) {}

  // What differs of tap t for the vector at `input` whose first word is word `phase` of a pixel.
  Type Differ(const uint64_t* input, int64_t phase, int64_t t) const {
    const uint64_t* const b = weights + t * F::kWeightPlanes * line + phase;
    const Type a = V::Load(input + tap_words[t]);
    if (F::kWeightPlanes == 1) return V::Xor(a, V::Load(b));
    return V::Masked(V::Load(b), a, V::Load(b + line));
  }

  Count CountNine(const uint64_t* input, int64_t phase) const {
    Type ones[3], twos[3];
    for (int64_t i = 0; i < 3; ++i) {
      const Type a = Differ(input, phase, 3 * i);
      const Type b = Differ(input, phase, 3 * i + 1);
      const Type c = Differ(input, phase, 3 * i + 2);
      ones[i] = V::Xor3(a, b, c);
      twos[i] = V::Majority(a, b, c);
    }
    const Type two_a = V::Majority(ones[0], ones[1], ones[2]);
    const Type two_b = V::Xor3(twos[0], twos[1], twos[2]);
    const Type four_a = V::Majority(twos[0], twos[1], twos[2]);
    const Type four_b = V::And(two_a, two_b);
    Count count;
    count.plane = V::Xor3(ones[0], ones[1], ones[2]);
    count.higher.plane = V::Xor(two_a, two_b);
    count.higher.higher.plane = V::Xor(four_a, four_b);
    count.higher.higher.higher.plane = V::And(four_a, four_b);
    return count;
  }

  Count CountAny(const uint64_t* input, int64_t phase) const {
    Count count = {};
    int64_t t = 0;
    for (; t + 3 <= taps; t += 3) {
      count.AddThree(Differ(input, phase, t), Differ(input, phase, t + 1),
                     Differ(input, phase, t + 2));
    }
    for (; t < taps; ++t) count.Add(Differ(input, phase, t));
    return count;
  }

  Count CountAt(const uint64_t* input, int64_t phase) const {
    if constexpr (F::kNine) {
      return CountNine(input, phase);
    } else {
      return CountAny(input, phase);
    }
  }

  const int32_t* const tap_words;
  const int64_t taps;
  const uint64_t* const weights;
  const int64_t line;
};

// Words of one line, or of one of its pixels.
struct BdepthRun {
  const uint64_t* input;  // window of the first pixel
  int64_t words;
  int64_t first;  // of the words, in its line
};

// Calls use(i, count) for vectors of words i, i + 1, ... of the run, ascending.
template <typename F, typename V, typename Use>
inline void BdepthVectors(const BdepthTaps<F, V>& taps, const BdepthRun& run, int64_t c_words,
                          Use use) {
  const int64_t last = run.words - V::kWords;
  const int64_t last_phase = last % c_words, advance = V::kWords % c_words;
  int64_t phase = 0;
  for (int64_t i = 0;;) {
    use(i, taps.CountAt(run.input + i, phase));
    if (i == last) return;
    i += V::kWords;
    phase += advance;
    if (phase >= c_words) phase -= c_words;
    if (i > last) {
      i = last;
      phase = last_phase;
    }
  }
}

// Bit output of a run. `limits` and `out`: of the line.
template <typename F, typename V>
inline void BdepthBits(const BdepthTaps<F, V>& taps, const BdepthRun& run, int64_t c_words,
                       const uint64_t* limits, int64_t plane_words, uint64_t* out) {
  BdepthVectors(taps, run, c_words, [&](int64_t i, const BdepthCount<V, F::kCountPlanes>& count) {
    const uint64_t* const at = limits + run.first + i;
    const auto above = V::Or(count.plane, V::Load(at));
    V::Store(out + run.first + i, count.higher.Above(at + plane_words, plane_words, above));
  });
}

// One of the two number outputs, of a line, and what it needs.
struct BdepthNumbers {
  int32_t* ints;
  float* floats;
  const int32_t* base;   // of the row class
  int64_t class_stride;  // from one class of columns to the next
};

template <bool kFloat>
inline void BdepthStore(const uint8_t* __restrict counts, const int32_t* base, const float* scale,
                        const float* bias, int64_t channels, int32_t* __restrict ints,
                        float* __restrict floats) {
  for (int64_t c = 0; c < channels; ++c) {
    const auto acc = static_cast<int32_t>(static_cast<uint32_t>(base[c]) - 2U * counts[c]);
    if (kFloat) {
      floats[c] = static_cast<float>(acc) * scale[c] + bias[c];
    } else {
      ints[c] = acc;
    }
  }
}

// counts: of the channels of word w of pixel x.
template <bool kFloat>
inline void BdepthStoreWord(const BdepthArgs& args, const BdepthNumbers& numbers,
                            const uint8_t* counts, int64_t x, int64_t w) {
  const int64_t channel = w * kBdepthWordBits, left = args.channels - channel;
  const int64_t at = x * args.channels + channel;
  const int64_t col_class = args.col_class != nullptr ? args.col_class[x] : 0;
  const int32_t* const base = numbers.base + col_class * numbers.class_stride + channel;
  const float* const scale = kFloat ? args.scale + channel : nullptr;
  const float* const bias = kFloat ? args.bias + channel : nullptr;
  int32_t* const ints = kFloat ? nullptr : numbers.ints + at;
  float* const floats = kFloat ? numbers.floats + at : nullptr;
  if (left >= kBdepthWordBits) {
    BdepthStore<kFloat>(counts, base, scale, bias, kBdepthWordBits, ints, floats);
  } else {
    BdepthStore<kFloat>(counts, base, scale, bias, left, ints, floats);
  }
}

// Number output of a run: planes are written to a buffer, and from there come the counts of a
// word's channels.
template <typename Vectors, typename F, typename V>
inline void BdepthNumberRun(const BdepthArgs& args, const BdepthTaps<F, V>& taps,
                            const BdepthRun& run, const BdepthNumbers& numbers) {
  alignas(64) uint64_t planes[F::kCountPlanes * V::kWords];
  alignas(64) uint8_t counts[kBdepthWordBits];
  const int64_t c_words = args.c_words;
  int64_t next = 0;  // word of the run that has no output yet
  int64_t x = run.first / c_words, w = 0;
  BdepthVectors(taps, run, c_words, [&](int64_t i, const BdepthCount<V, F::kCountPlanes>& count) {
    count.Store(planes);
    for (; next < i + V::kWords; ++next) {
      Vectors::template Expand<F::kCountPlanes, V::kWords>(planes + (next - i), counts);
      if (numbers.floats != nullptr) {
        BdepthStoreWord<true>(args, numbers, counts, x, w);
      } else {
        BdepthStoreWord<false>(args, numbers, counts, x, w);
      }
      if (++w == c_words) {
        w = 0;
        ++x;
      }
    }
  });
}

inline bool BdepthWholeLines(const BdepthArgs& args) {
  return args.stride_w == 1 || args.out_w == 1;
}

inline int64_t BdepthRunWords(const BdepthArgs& args) {
  return BdepthWholeLines(args) ? int64_t{args.out_w} * args.c_words : args.c_words;
}

// All lines, in vectors of at most BdepthRunWords().
template <typename Vectors, typename F, typename V>
[[gnu::noinline]] void BdepthLines(const BdepthArgs& args) {
  const BdepthTaps<F, V> taps(args);
  const int64_t c_words = args.c_words, plane_words = args.out_w * c_words;
  const int64_t run_words = BdepthRunWords(args), run_step = int64_t{args.stride_w} * c_words;
  const int64_t class_stride = (int64_t{args.channels} + 7) / 8 * 8;
  for (int64_t n = 0; n < args.batch; ++n) {
    for (int64_t y = 0; y < args.out_h; ++y) {
      const int64_t row_class = args.row_class != nullptr ? args.row_class[y] : 0;
      const int64_t out = n * args.out_image + y * args.out_row;
      BdepthRun run = {args.input + n * args.image_words + y * args.stride_h * args.row_words,
                       run_words, 0};
      for (; run.first < plane_words; run.first += run_words, run.input += run_step) {
        if (args.out_bits != nullptr) {
          BdepthBits(taps, run, c_words, args.limits + row_class * F::kCountPlanes * plane_words,
                     plane_words, args.out_bits + out);
          continue;
        }
        const int64_t col_classes = args.col_class != nullptr ? args.col_classes : 1;
        const BdepthNumbers numbers = {args.out_int32 != nullptr ? args.out_int32 + out : nullptr,
                                       args.out_float != nullptr ? args.out_float + out : nullptr,
                                       args.base + row_class * col_classes * class_stride,
                                       class_stride};
        BdepthNumberRun<Vectors>(args, taps, run, numbers);
      }
    }
  }
}

// `Vectors` runs all lines with the widest vector that fits: Vectors::Run<F>(args), and expands
// planes: Expand<planes, words from one plane to the next>(planes, counts[64]).
template <typename Vectors, int kWeightPlanes>
inline void BdepthOfPlanes(const BdepthArgs& args) {
  if (args.taps == 9) {
    Vectors::template Run<BdepthForm<kWeightPlanes, kBdepthNarrowPlanes, true>>(args);
  } else if (args.taps <= kBdepthNarrowTaps) {
    Vectors::template Run<BdepthForm<kWeightPlanes, kBdepthNarrowPlanes, false>>(args);
  } else {
    Vectors::template Run<BdepthForm<kWeightPlanes, kBdepthWidePlanes, false>>(args);
  }
}

template <typename Vectors>
inline void Bdepth(const BdepthArgs& args) {
  if (args.planes == 2) {
    BdepthOfPlanes<Vectors, 2>(args);
  } else {
    BdepthOfPlanes<Vectors, 1>(args);
  }
}

}  // namespace
}  // namespace bitmill
