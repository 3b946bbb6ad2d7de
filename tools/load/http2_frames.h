// Frames of HTTP/2 (RFC 9113): their numbers, and big-endian fields.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace bitmill::http2 {

enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kReset = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

inline constexpr uint8_t kEndStream = 0x1, kAck = 0x1, kEndHeaders = 0x4, kPadded = 0x8,
                         kPriorityFlag = 0x20;
inline constexpr uint16_t kHeaderTableSize = 1, kEnablePush = 2, kMaxStreams = 3,
                          kInitialWindow = 4, kMaxFrame = 5;
inline constexpr uint32_t kCancelCode = 8, kRefusedCode = 7;
inline constexpr size_t kFrameHeaderBytes = 9, kMessagePrefixBytes = 5;
inline constexpr size_t kMaxFrameBytes = 16'384;  // what we accept: the default
inline constexpr size_t kMaxBlockBytes = 1 << 16;
inline constexpr size_t kReadBytes = 256 * 1024;
inline constexpr int64_t kMaxWindow = (int64_t{1} << 31) - 1;
inline constexpr int64_t kReceiveWindow = int64_t{1} << 30;  // of the connection
inline constexpr uint32_t kLastStream = (1U << 31) - 1;

inline uint32_t ReadBig32(const char* bytes) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

inline void AppendBig(uint64_t value, int bytes, std::string& out) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out += static_cast<char>(value >> shift);
  }
}

}  // namespace bitmill::http2
