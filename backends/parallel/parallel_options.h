// How a model is divided between executables: what its configuration says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bitmill {

enum class ParallelMode : uint8_t {
  kOff,
  kData,      // the rows of a batch
  kTensor,    // the output channels of large layers
  kPipeline,  // the layers
  kAuto,      // whichever of these is measured to be fastest, or off
};

struct ParallelOptions {
  ParallelMode mode = ParallelMode::kOff;
  int parts = 0;                      // 1 .. kMostParts; 0 for kOff and kAuto
  std::vector<std::string> backends;  // of each part; empty: all are the model's

  friend bool operator==(const ParallelOptions&, const ParallelOptions&) = default;
};

constexpr int kMostParts = 16;

// "data", "tensor" ..
const char* ParallelModeName(ParallelMode mode);

// "off" (or nothing), "auto", or a mode and its parts: "data:2", "tensor:4", "pipeline:cpu,opencl",
// where names are of backends. InvalidArgument says what was expected.
absl::StatusOr<ParallelOptions> ParseParallel(absl::string_view text);

}  // namespace bitmill
