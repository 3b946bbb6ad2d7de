// What the float layers share: rows through a oneDNN layer, then the chain in place.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "backends/cpu/compiled_chain.h"
#include "backends/cpu/dnnl_layer.h"
#include "backends/cpu/steps.h"

namespace bitmill {

struct FloatLayerTraits {
  int64_t macs = 0;
  bool pointwise = false;  // a pixel of the output depends on the same pixel of the input alone
};

// `layer` computes one row of `output` from one of `input`, which may lie in the request; a row
// there that is not aligned to a float is copied to scratch first.
absl::StatusOr<StepPtr> MakeFloatLayerStep(std::unique_ptr<DnnlLayer> layer, const Chain& chain,
                                           const Operand& input, const Operand& output,
                                           FloatLayerTraits traits, StepBuilder& builder);

}  // namespace bitmill
