// Which values of a model configuration make sense, and which features are refused or ignored.
#pragma once

#include "absl/status/status.h"
#include "server/repository/model_config.h"

namespace bitmill {

// Whether instances are to be on a GPU: KIND_GPU, or a kind that is left open and a list of GPUs.
bool WantsGpu(const GivenConfig& config);

// Checks `config.proto` by itself and appends to `config.ignored`. Errors as ParseModelConfig.
absl::Status CheckConfigRules(GivenConfig& config);

}  // namespace bitmill
