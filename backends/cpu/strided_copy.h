// Copies of tensors of 4-byte elements whose axes change places, made ready: axes that stay
// together are one, runs of elements are copied whole, and two axes that change places go through
// the transposition kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backends/cpu/buffer_layout.h"
#include "base/tensor.h"
#include "kernels/transpose/transpose_table.h"

namespace bitmill {

// One axis of a copy: so many elements, and how far apart they are on each side, in elements.
struct CopyAxis {
  int64_t size = 1, src = 0, dst = 0;
};

class StridedCopy {
 public:
  StridedCopy() = default;
  // Every element of the destination is written once. At most kMaxAxes axes that do not merge.
  static absl::StatusOr<StridedCopy> Make(std::vector<CopyAxis> axes,
                                          const TransposeKernel& kernel);

  // Any alignment; no overlap. Allocates nothing.
  void Run(const std::byte* src, std::byte* dst) const;

  static constexpr size_t kMaxAxes = 8;

 private:
  enum class Inner : uint8_t { kRun, kTransposed, kElements };
  void RunInner(const std::byte* src, std::byte* dst) const;

  Inner way_ = Inner::kRun;
  CopyAxis inner_;               // the destination's innermost
  CopyAxis crossed_;             // kTransposed: the source's innermost
  std::vector<CopyAxis> outer_;  // outermost first
  const TransposeKernel* kernel_ = nullptr;
};

// Distances between neighbours along each axis of a value of this shape, in elements.
Shape StorageStrides(const BufferLayout& layout, absl::Span<const int64_t> shape);

}  // namespace bitmill
