// Transposition of bytes and words: every kernel against the definition.
#include "kernels/transpose/transpose.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/transpose/transpose_table.h"

namespace bitmill {
namespace {

constexpr uint8_t kUntouched = 0xcd;

// Row r, column c holds a value that tells both; elements between rows stay as they were.
template <typename Element>
void Check(TransposeFn run, int64_t rows, int64_t columns, int64_t slack) {
  const int64_t src_stride = columns + slack;
  const int64_t dst_stride = rows + 2 * slack;
  std::vector<Element> src(static_cast<size_t>((rows - 1) * src_stride + columns));
  for (size_t i = 0; i < src.size(); ++i) src[i] = static_cast<Element>(i * 2654435761U >> 7U);
  const auto size = static_cast<size_t>((columns - 1) * dst_stride + rows);
  std::vector<Element> want(size + 1, kUntouched);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      want[static_cast<size_t>(c * dst_stride + r)] = src[static_cast<size_t>(r * src_stride + c)];
    }
  }
  std::vector<Element> got(size + 1, kUntouched);
  run({src.data(), got.data(), rows, columns, src_stride, dst_stride});
  EXPECT_EQ(got, want) << rows << " x " << columns << ", " << slack << " between rows";
}

TEST(TransposeTest, EveryKernelIsTheDefinitionOverOddShapes) {
  constexpr int64_t kSides[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 49, 64, 197};
  int count = 0;
  const TransposeKernel* const kernels = TransposeKernels(&count);
  for (int i = 0; i < count; ++i) {
    if (!IsaAllows(BestIsa(), kernels[i].isa)) continue;
    SCOPED_TRACE(kernels[i].name);
    for (const int64_t rows : kSides) {
      for (const int64_t columns : kSides) {
        for (const int64_t slack : {0, 3}) {
          Check<uint8_t>(kernels[i].bytes, rows, columns, slack);
          Check<uint32_t>(kernels[i].words, rows, columns, slack);
        }
      }
    }
  }
}

}  // namespace
}  // namespace bitmill
