// The constants of a low-bit convolution over codes, as kernels/qconv/qconv.h wants them.
//
// Images of 1 to 3 channels lie tight: a line of the window is one run of bytes there, filled up
// with zero weights, instead of a mostly empty step for each tap; or the ends of its lines lie side
// by side (line_ends.h).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cpu/buffer_layout.h"
#include "backends/cpu/conv_window.h"
#include "backends/cpu/line_ends.h"
#include "backends/cpu/plan_constants.h"
#include "backends/cpu/step_builder.h"
#include "kernels/qconv/qconv_table.h"
#include "kernels/qconv/sparse_qconv.h"
#include "model/lowered.h"

namespace bitmill {

struct QconvFilter {
  QconvWeights kind = QconvWeights::k1Bit;
  PackedBytes weights;     // of all calls, and what follows from them; none if sparse
  bool ternary = false;    // 2-bit weights of which none is -2
  int64_t call_bytes = 0;  // from one call to the next
  std::vector<int32_t> step_bytes;
  std::vector<int32_t> base;       // [calls][outputs of a call, rounded up to 8]
  std::vector<float> scale, bias;  // likewise; empty for integer accumulators
  // [out_channels]; 1 where the comparison is flipped but a weight (-128, -8 or -2) has no
  // negative: the accumulators of these channels come with the wrong sign. All others are negated
  // here.
  std::vector<uint8_t> late_flip;

  std::vector<SparseQconv> sparse;  // [calls] without their empty units, or none
  SparseChoice sparse_choice;

  // `args` with the weights of a call.
  QconvArgs Applied(QconvArgs args, int64_t call) const;
  int64_t bytes() const;
};

// How the kernel takes sparse weights, and whether its calls may have kFewPixels or less.
struct SparseUse {
  SparseForms forms;
  bool few_pixels = false;
};

// Internal when a weight does not fit its bits; Unimplemented when a sum may not fit 32 bits;
// ResourceExhausted beyond 1 GiB. Sparse weights are packed each time: a plan file has them as they
// are. `ends`: those of tight codes; `input` has room for them.
absl::StatusOr<QconvFilter> PackQconvFilter(const LowBitConvOp& op, const ConvWindow& window,
                                            const GroupSplit& split, const BufferLayout& input,
                                            const LineEnds& ends, int32_t zero_point,
                                            int32_t levels, const SparseUse& sparse,
                                            StepBuilder& builder);

}  // namespace bitmill
