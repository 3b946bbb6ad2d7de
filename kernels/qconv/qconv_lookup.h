// Products of low-bit weights and activations looked up instead of multiplied.
//
// A vector register holds one table: the sums of products of a few activations with all weights
// that an index can name. Bytes of weights are the indices, lane = output channel, so one
// instruction gives the sums of a few products for all lanes. Activations of 2 bits have so few
// combinations that their tables are rows of constants: nothing is multiplied, nothing is built.
// Activations of 3 or 4 bits are two digits of 2 bits, counted one after the other. Weights are
// codes without sign; what that adds is mended by the sum of the activations.
//
// Indices are made once (PrepareQconvLookup): groups of `vectors` vectors of `lanes` output
// channels, [groups][lookups][vectors][lanes] bytes. An index holds the codes of consecutive
// weights of the window (of its steps, taps and channels, in order), the first lowest; past the
// window they are zero. 1-bit codes are 1 for -1; 2-bit codes as they lie in QconvArgs. Byte 2i of
// a vector belongs to its channel i, byte 2i + 1 to channel lanes / 2 + i: so the even and the odd
// bytes, widened, are channels in order.
#pragma once

#include <stdint.h>

#include "kernels/qconv/qconv.h"

namespace bitmill {

struct QconvLookupForm {
  int32_t lanes;       // of a vector: 32 or 64
  int32_t index_bits;  // 4 or 6
};

inline constexpr QconvLookupForm kQconvNibbles = {32, 4};  // of vpshufb

// Lookups that make the sum of a window.
int64_t QconvLookupCount(const QconvArgs& args, const QconvLookupForm& form);
// Vectors of the group that begins where `vectors` are left: 2 or 1.
int64_t QconvLookupGroup(int64_t vectors);
int64_t QconvLookupBytes(const QconvArgs& args, const QconvLookupForm& form);
void PrepareQconvLookup(const QconvArgs& args, const QconvLookupForm& form, uint8_t* indices);

// Codes that lie side by side in the window.
struct QconvRun {
  int64_t offset;  // from the start of the window
  int64_t bytes;
};
// Steps `first` to `first + count - 1` as runs; returns how many (at most `count`).
int64_t ListQconvRuns(const QconvArgs& args, int64_t first, int64_t count, QconvRun* runs);

// Whether weights of this kind are prepared as indices, if at all: 1 bit, or 2 bits and at most 4
// levels.
bool QconvTakesTables(const QconvArgs& args);

// The whole convolution, by args.prepared: 2-bit weights and 4 levels at most, or 1-bit weights and
// 16.
void QconvLookupAvx512Vpopcnt(const QconvArgs& args);
// The bytes of its indices; 0 where multiplied bytes are faster or activations have more levels.
int64_t QconvLookupBytesAvx512Vpopcnt(const QconvArgs& args);
void PrepareQconvLookupAvx512Vpopcnt(const QconvArgs& args, void* prepared);
// The same with AVX2.
void QconvLookupAvx2(const QconvArgs& args);
int64_t QconvLookupBytesAvx2(const QconvArgs& args);
void PrepareQconvLookupAvx2(const QconvArgs& args, void* prepared);

}  // namespace bitmill
