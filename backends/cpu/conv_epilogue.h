// What follows the accumulators of a low-bit convolution, applied to a block of output pixels that
// still lies in the first-level cache: thresholds, requantization, or a float chain and the
// transposition to planes.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cpu/compiled_chain.h"
#include "backends/cpu/step.h"
#include "backends/cpu/step_builder.h"
#include "model/lowered.h"

namespace bitmill {

class ConvEpilogue {
 public:
  // `negate`: channels whose accumulators come with the wrong sign (int32 only); empty: none.
  static absl::StatusOr<ConvEpilogue> Make(const LowBitConvOp& op, const CodeInfo& output_code,
                                           const BufferLayout& output, const KernelSet& kernels,
                                           const std::vector<uint8_t>& negate);

  // Whether the kernel is to leave float accumulators (scaled, biased) or int32 ones.
  bool wants_float() const { return epilogue_ != LowBitConvOp::Epilogue::kThresholds; }

  // acc: [pixels][channels] of int32 or float, overwritten on the way. `dst` is the first pixel of
  // the destination; pixels of bits, codes and kPixelFloat are dst_pixel bytes apart, those of a
  // planar output are adjacent elements (or, for a single-pixel output, dst_pixel bytes apart).
  void Apply(void* acc, int64_t pixels, std::byte* dst, int64_t dst_pixel) const;

  int64_t table_bytes() const;

  // Whether all that is stored are floats, at any of their addresses.
  bool stores_floats() const { return epilogue_ == LowBitConvOp::Epilogue::kFloat; }

 private:
  void ApplyThresholds(int32_t* acc, int64_t pixels, std::byte* dst, int64_t dst_pixel) const;
  void ApplyQuantizer(const float* acc, int64_t pixels, std::byte* dst, int64_t dst_pixel) const;
  void StoreFloats(const float* acc, int64_t pixels, std::byte* dst, int64_t dst_pixel) const;

  LowBitConvOp::Epilogue epilogue_ = LowBitConvOp::Epilogue::kFloat;
  BufferLayout output_;
  const RequantKernel* requant_ = nullptr;
  const PackKernel* pack_ = nullptr;
  const TransposeKernel* transpose_ = nullptr;
  CompiledChain chain_;
  Quantizer quantizer_;
  int32_t levels_ = 0;
  std::vector<int32_t> thresholds_;  // [levels - 1][channels rounded up to 8]
  std::vector<uint8_t> negate_;      // [channels], 1 where sums are; empty: none
};

// One value a channel, padded with `fill` to a multiple of 8.
template <typename T>
std::vector<T> PadToEight(const T* values, int64_t count, T fill) {
  std::vector<T> padded(static_cast<size_t>((count + 7) / 8 * 8), fill);
  for (int64_t i = 0; i < count; ++i) padded[static_cast<size_t>(i)] = values[i];
  return padded;
}

// Checks the lengths of the epilogue's tables against the number of output channels.
absl::Status CheckEpilogue(const LowBitConvOp& op, const CodeInfo& output_code,
                           const BufferLayout& output);

}  // namespace bitmill
