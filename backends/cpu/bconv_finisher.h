// The steps behind a binary convolution whose work its kernel does as it stores the float outputs
// (kernels/bconv/bconv_finish.h): chains, the sum with a shortcut, the signs of the result.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "backends/cpu/compiled_chain.h"
#include "backends/cpu/line_step.h"
#include "kernels/bconv/bconv_finish.h"

namespace bitmill {

class BconvFinisher {
 public:
  struct Lines {
    int64_t row = 0, first = 0, count = 0;  // of the chunk; lines of that row (and later ones)
  };

  // Takes over `next` if the kernels can do it; see LineStep::Absorb(). `output` and `chain` are
  // the convolution's own, and live as long as this.
  bool Absorb(const Operand& output, const CompiledChain& chain, const LineStep& next, bool last);

  // Calls run(finish, place of the first line) for all that was taken over; false if there is none
  // or run returns false.
  bool RunLines(const StepRun& run, const Lines& lines,
                absl::FunctionRef<bool(const BconvFinish& finish, float* to)> call) const;
  // The same step by step, after the convolution and its chain.
  absl::Status RunSteps(const StepRun& run, const Lines& lines) const;

 private:
  static constexpr size_t kMaxOps = 16;

  bool AddChain(const CompiledChain& chain);
  bool AddSum(const SumWork& work, bool last);
  bool AddSigns(const SignWork& work);

  std::vector<const LineStep*> steps_;
  std::vector<CompiledChain::ChannelOp> ops_;  // for the sum: no operands
  size_t sum_ = kMaxOps;                       // which of them is the sum
  Operand map_, output_, signs_;
  bool begun_ = false;
  bool ended_ = false;              // by signs
  std::vector<float> thresholds_;   // [channels rounded up to 16]
  std::vector<uint16_t> inverted_;  // [channels / 16 rounded up]
};

}  // namespace bitmill
