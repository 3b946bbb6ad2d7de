#include <string.h>

#include "kernels/transpose/transpose.h"

namespace bitmill {
namespace {

template <int64_t kBytes>
void Transpose(const TransposeArgs& args) {
  const auto* const src = static_cast<const uint8_t*>(args.src);
  auto* const dst = static_cast<uint8_t*>(args.dst);
  for (int64_t c = 0; c < args.columns; ++c) {
    for (int64_t r = 0; r < args.rows; ++r) {
      memcpy(dst + (c * args.dst_stride + r) * kBytes, src + (r * args.src_stride + c) * kBytes,
             kBytes);
    }
  }
}

}  // namespace

void TransposeBytesRef(const TransposeArgs& args) { Transpose<1>(args); }
void TransposeWordsRef(const TransposeArgs& args) { Transpose<4>(args); }

}  // namespace bitmill
