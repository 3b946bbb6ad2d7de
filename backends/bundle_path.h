// Where the plan file of a model lies that several executables compute: beside that of the model on
// the CPU alone, so that neither takes the other's place.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace bitmill {

// "model.auto.plan" for "model.plan" and "auto", "model.pipeline-cpu-opencl.plan" for
// "pipeline:cpu,opencl": what is no letter, digit, '-' or '_' of `way` becomes '-'.
std::string BundlePath(absl::string_view plan_path, absl::string_view way);

}  // namespace bitmill
