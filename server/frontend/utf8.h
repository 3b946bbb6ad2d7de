// Whether bytes are well-formed UTF-8 (RFC 3629: no overlong form, no surrogate, at most U+10FFFF).
// Protobuf demands it of every `string` field.
#pragma once

#include <string_view>

namespace bitmill {
bool IsValidUtf8(std::string_view text);
}  // namespace bitmill
