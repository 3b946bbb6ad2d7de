// model_warmup of a configuration: requests that are run once before a version is served.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "backends/backend.h"
#include "server/repository/model_config.h"

namespace bitmill {

// Runs every entry `count` times with its rows of zeros, seeded random values, or the contents of
// <model folder>/warmup/<file> (exactly the bytes of the tensor). Inputs that an entry does not
// name are zeros. InvalidArgument with the place when an entry does not fit the model, and whatever
// the execution returns. `real_root` as in ResolveInside.
absl::Status RunWarmup(const GivenConfig& given, const Executable& executable,
                       const std::string& real_root, const std::string& model_folder);

}  // namespace bitmill
