// The two tables of RFC 7541: appendix A, headers that have a number, and appendix B, the length of
// each symbol's Huffman code.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitmill {

struct HpackStaticEntry {
  const char* name;
  const char* value;
};

inline constexpr size_t kHpackStaticEntries = 61;
inline constexpr size_t kHuffmanSymbols = 257;  // bytes, and the end of a string
inline constexpr size_t kHuffmanMaxBits = 30;

extern const HpackStaticEntry kHpackStatic[kHpackStaticEntries];
extern const uint8_t kHuffmanBits[kHuffmanSymbols];

}  // namespace bitmill
