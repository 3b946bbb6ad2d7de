// Where an element of a matrix in shared memory lies, as the descriptors of wgmma tell it (PTX
// manual: "Shared Memory Matrix Layout" and "Matrix Descriptor Format"), K-major.
#pragma once

#include <cstdint>

namespace bitmill::cuda_emulation {

inline constexpr int kProductBytes = 32;  // of a line of either operand: 256 bits, 32 bytes

// Byte `byte` of line `line`, a row of A or a column of B, as an offset in shared memory. The
// descriptor has addresses in units of 16 bytes: bits 0 to 13 the start, 16 to 29 the distance from
// 16 bytes of a line to the next 16 where nothing is swizzled, 32 to 45 the distance from 8 lines
// to the next 8; bits 62 and 63 are the swizzle: 0 none, 1 of 128 bytes, 2 of 64, 3 of 32.
inline uint32_t GroupMatrixOffset(uint64_t descriptor, int line, int byte) {
  const auto field = [&](int bit) {
    return static_cast<uint32_t>(descriptor >> bit & 0x3fff) * 16;
  };
  const auto l = static_cast<uint32_t>(line), b = static_cast<uint32_t>(byte);
  const uint32_t blocks = field(0) + l / 8 * field(32);
  const auto mode = static_cast<uint32_t>(descriptor >> 62);
  if (mode == 0) return blocks + b / 16 * field(16) + l % 8 * 16 + b % 16;
  const uint32_t line_bytes = 256 >> mode;
  const uint32_t plain = blocks + l % 8 * line_bytes + b;
  // The 16 bytes that a line begins with at each 128: bits 7 and up of the address, onto bits 4 up.
  return plain ^ (plain >> 3 & (line_bytes - 16));
}

}  // namespace bitmill::cuda_emulation
