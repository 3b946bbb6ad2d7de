#include "backends/cpu/strided_copy.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

constexpr int64_t kElement = 4;

// Outermost in the destination first; neighbours that stay together are one axis.
std::vector<CopyAxis> Merged(std::vector<CopyAxis> axes) {
  axes.erase(
      std::remove_if(axes.begin(), axes.end(), [](const CopyAxis& axis) { return axis.size == 1; }),
      axes.end());
  std::stable_sort(axes.begin(), axes.end(),
                   [](const CopyAxis& a, const CopyAxis& b) { return a.dst > b.dst; });
  std::vector<CopyAxis> merged;
  for (const CopyAxis& axis : axes) {
    if (!merged.empty() && merged.back().src == axis.src * axis.size &&
        merged.back().dst == axis.dst * axis.size) {
      merged.back() = {merged.back().size * axis.size, axis.src, axis.dst};
    } else {
      merged.push_back(axis);
    }
  }
  return merged;
}

}  // namespace

absl::StatusOr<StridedCopy> StridedCopy::Make(std::vector<CopyAxis> axes,
                                              const TransposeKernel& kernel) {
  StridedCopy copy;
  copy.kernel_ = &kernel;
  copy.outer_ = Merged(std::move(axes));
  if (copy.outer_.size() > kMaxAxes) {
    return absl::UnimplementedError(
        absl::StrCat("a copy that moves ", copy.outer_.size(), " axes"));
  }
  if (copy.outer_.empty()) {
    copy.inner_ = {1, 1, 1};
    return copy;
  }
  copy.inner_ = copy.outer_.back();
  copy.outer_.pop_back();
  if (copy.inner_.src == 1 && copy.inner_.dst == 1) return copy;
  copy.way_ = Inner::kElements;
  const auto crossed = std::find_if(copy.outer_.begin(), copy.outer_.end(),
                                    [](const CopyAxis& axis) { return axis.src == 1; });
  if (crossed != copy.outer_.end() && copy.inner_.dst == 1) {
    copy.way_ = Inner::kTransposed;
    copy.crossed_ = *crossed;
    copy.outer_.erase(crossed);
  }
  return copy;
}

void StridedCopy::RunInner(const std::byte* src, std::byte* dst) const {
  switch (way_) {
    case Inner::kRun:
      std::memcpy(dst, src, static_cast<size_t>(inner_.size * kElement));
      return;
    case Inner::kTransposed:
      kernel_->words({src, dst, inner_.size, crossed_.size, inner_.src, crossed_.dst});
      return;
    case Inner::kElements:
      for (int64_t i = 0; i < inner_.size; ++i) {
        std::memcpy(dst + i * inner_.dst * kElement, src + i * inner_.src * kElement, kElement);
      }
      return;
  }
}

void StridedCopy::Run(const std::byte* src, std::byte* dst) const {
  std::array<int64_t, kMaxAxes> index{};
  for (;;) {
    RunInner(src, dst);
    size_t axis = outer_.size();
    while (axis-- > 0) {
      const CopyAxis& at = outer_[axis];
      src += at.src * kElement;
      dst += at.dst * kElement;
      if (++index[axis] < at.size) break;
      src -= at.src * at.size * kElement;
      dst -= at.dst * at.size * kElement;
      index[axis] = 0;
    }
    if (axis == static_cast<size_t>(-1)) return;
  }
}

Shape StorageStrides(const BufferLayout& layout, absl::Span<const int64_t> shape) {
  Shape strides(shape.size(), 1);
  if (layout.storage == Storage::kPixelFloat) {
    strides = {layout.elements, 1, layout.width * layout.channels, layout.channels};
    return strides;
  }
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

}  // namespace bitmill
