#include "server/frontend/wire.h"

#include <limits>

namespace bitmill {
namespace {
constexpr int kTagBytes = 5;
constexpr int kVarintBytes = 10;
// The library keeps a margin of 16 bytes below 2 GiB.
constexpr uint32_t kMaxLength = std::numeric_limits<int32_t>::max() - 16;
}  // namespace

bool WireReader::ReadRawTag(uint32_t& raw) {
  raw = 0;
  for (int i = 0; i < kTagBytes; ++i) {
    if (at_ == end_) return false;
    const auto byte = static_cast<uint8_t>(*at_++);
    raw |= static_cast<uint32_t>(byte & 0x7F) << (7 * i);
    if (byte < 0x80) return true;
  }
  return false;
}

bool WireReader::ReadTag(WireTag& tag) {
  uint32_t raw = 0;
  if (!ReadRawTag(raw)) return false;
  tag = {.field = raw >> 3, .type = static_cast<WireType>(raw & 7)};
  return tag.field != 0 && (raw & 7) <= 5 && tag.type != WireType::kEndGroup;
}

bool WireReader::ReadLongVarint(uint64_t& value) {
  value = 0;
  for (int i = 0; i < kVarintBytes; ++i) {
    if (at_ == end_) return false;
    const auto byte = static_cast<uint8_t>(*at_++);
    value |= static_cast<uint64_t>(byte & 0x7F) << (7 * i);
    if (byte < 0x80) return true;
  }
  return false;
}

bool WireReader::ReadBytes(std::string_view& bytes) {
  uint64_t length = 0;
  for (int i = 0;; ++i) {
    if (at_ == end_ || i == kTagBytes) return false;
    const auto byte = static_cast<uint8_t>(*at_++);
    length |= static_cast<uint64_t>(byte & 0x7F) << (7 * i);
    if (byte < 0x80) break;
  }
  if (length > kMaxLength || length > static_cast<uint64_t>(end_ - at_)) return false;
  bytes = {at_, static_cast<size_t>(length)};
  at_ += length;
  return true;
}

bool WireReader::Skip(WireTag tag, int depth) {
  uint64_t number = 0;
  uint32_t fixed = 0;
  std::string_view bytes;
  switch (tag.type) {
    case WireType::kVarint:
      return ReadVarint(number);
    case WireType::kFixed64:
      return ReadFixed(number);
    case WireType::kFixed32:
      return ReadFixed(fixed);
    case WireType::kBytes:
      return ReadBytes(bytes);
    case WireType::kEndGroup:
      return false;
    case WireType::kStartGroup:
      break;
  }
  while (depth > 0) {
    uint32_t raw = 0;
    if (!ReadRawTag(raw)) return false;
    const WireTag inner = {.field = raw >> 3, .type = static_cast<WireType>(raw & 7)};
    if (inner.field == 0 || (raw & 7) > 5) return false;
    if (inner.type == WireType::kEndGroup) return inner.field == tag.field;
    if (!Skip(inner, depth - 1)) return false;
  }
  return false;
}

}  // namespace bitmill
