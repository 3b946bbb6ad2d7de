// How a value of bits or codes lies in memory where it is handed from one part of a model to
// another: the same for every backend. Channels are innermost and nothing has a border.
//
//   bits    one bit a channel; a pixel is whole 64-bit words
//   codes   one byte a channel; a pixel is a multiple of 8 bytes
//
// Bits and bytes behind the last channel of a pixel are zero, for whoever writes and whoever reads.
#pragma once

#include <cstdint>

#include "model/graph.h"

namespace bitmill {

struct CodedPort {
  int64_t channels = 0;  // of a pixel
  int64_t pixels = 0;
  int64_t pixel_bytes = 0;

  int64_t row_bytes() const { return pixels * pixel_bytes; }
};

// `value` is coded and of shape [1, channels, ..]; one of rank 1 has one channel.
inline CodedPort CodedPortOf(const Value& value) {
  CodedPort port;
  port.channels = value.shape.size() > 1 ? value.shape[1] : 1;
  const int64_t elements = ElementCount(value.shape);
  port.pixels = port.channels == 0 ? 0 : elements / port.channels;
  port.pixel_bytes = value.code.kind == CodeKind::kBits ? (port.channels + 63) / 64 * 8
                                                        : (port.channels + 7) / 8 * 8;
  return port;
}

}  // namespace bitmill
