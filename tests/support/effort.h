// How many cases a test draws.
#pragma once

namespace bitmill {

// Whether this is a build that runs several times slower: with a sanitizer, or for an emulator.
#if defined(BITMILL_SLOW_RUN)
inline constexpr bool kSlowRun = true;
#else
inline constexpr bool kSlowRun = false;
#endif

// `all`, or a quarter of them (one at least) in a slow run. Wrong numbers are found where tests run
// fast; a sanitizer looks for wrong accesses, of which the same code on the same kinds of input
// makes the same ones.
constexpr int Rounds(int all) { return kSlowRun ? (all + 3) / 4 : all; }

}  // namespace bitmill
