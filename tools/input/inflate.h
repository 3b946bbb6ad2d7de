// Decompression with a limit on what comes out, so that a small hostile file cannot fill memory.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bitmill {

enum class DeflateFormat { kRaw, kGzip };

// InvalidArgument for damaged or truncated data; ResourceExhausted above max_bytes of output.
absl::StatusOr<std::string> Inflate(absl::string_view compressed, DeflateFormat format,
                                    int64_t max_bytes);

}  // namespace bitmill
