#include "tools/input/inflate.h"

#include <zlib.h>

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace bitmill {

absl::StatusOr<std::string> Inflate(absl::string_view compressed, DeflateFormat format,
                                    int64_t max_bytes) {
  constexpr size_t kChunk = size_t{1} << 16;
  constexpr size_t kMaxInput = size_t{1} << 30;
  if (compressed.size() > kMaxInput) {
    return absl::ResourceExhaustedError(
        absl::StrCat(compressed.size(), " compressed bytes, at most ", kMaxInput, " are read"));
  }
  z_stream stream = {};
  const int window_bits = format == DeflateFormat::kGzip ? 15 + 16 : -15;
  if (inflateInit2(&stream, window_bits) != Z_OK) {
    return absl::InternalError("zlib could not start");
  }
  const auto cleanup = absl::MakeCleanup([&stream] { inflateEnd(&stream); });
  // zlib does not write through this pointer.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(compressed.data()));
  stream.avail_in = static_cast<uInt>(compressed.size());

  std::string output;
  int result = Z_OK;
  while (result == Z_OK) {
    const size_t filled = output.size();
    output.resize(filled + kChunk);
    stream.next_out = reinterpret_cast<Bytef*>(output.data() + filled);
    stream.avail_out = kChunk;
    result = inflate(&stream, Z_NO_FLUSH);
    output.resize(filled + kChunk - stream.avail_out);
    if (static_cast<int64_t>(output.size()) > max_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("unpacks to more than the ", max_bytes, " bytes that are allowed"));
    }
  }
  if (result != Z_STREAM_END) {
    return absl::InvalidArgumentError("the compressed data is damaged or ends too early");
  }
  return output;
}

}  // namespace bitmill
