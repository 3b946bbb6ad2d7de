// Reads the protobuf wire format from memory, with the leniencies and limits of the library's own
// parser: at most 5 bytes for a tag or length, 10 for a number, lengths below 2 GiB, groups nested
// at most 100 deep. Copies nothing.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace bitmill {

enum class WireType : uint8_t {
  kVarint = 0,
  kFixed64 = 1,
  kBytes = 2,
  kStartGroup = 3,
  kEndGroup = 4,
  kFixed32 = 5,
};

struct WireTag {
  uint32_t field = 0;
  WireType type = WireType::kVarint;
};

// Each Read function returns false when the bytes are not what it wants; reading stops there.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  bool done() const { return at_ == end_; }

  // False also for field number 0, wire types 6 and 7 and the end of a group that was not begun.
  bool ReadTag(WireTag& tag);
  bool ReadVarint(uint64_t& value) {
    if (at_ != end_ && static_cast<uint8_t>(*at_) < 0x80) {
      value = static_cast<uint8_t>(*at_++);
      return true;
    }
    return ReadLongVarint(value);
  }
  bool ReadBytes(std::string_view& bytes);  // length, then as many bytes
  template <typename T>                     // uint32_t or uint64_t, little-endian
  bool ReadFixed(T& value) {
    if (static_cast<size_t>(end_ - at_) < sizeof(T)) return false;
    std::memcpy(&value, at_, sizeof(T));
    at_ += sizeof(T);
    return true;
  }
  // Passes over the value of a field that nobody knows.
  bool Skip(WireTag tag, int depth = 100);

 private:
  bool ReadLongVarint(uint64_t& value);
  bool ReadRawTag(uint32_t& raw);

  const char* at_;
  const char* end_;
};

}  // namespace bitmill
