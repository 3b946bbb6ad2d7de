// Device plans of random graphs against the reference of lowered graphs.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/device/device_plan.h"
#include "model/graph.h"
#include "tests/backends/cpu/random_lowered.h"
#include "tests/backends/opencl/golden_models.h"

namespace bitmill {

using MakeExecutable =
    std::function<absl::StatusOr<std::unique_ptr<Executable>>(const Graph& graph, DevicePlan plan)>;

// `count` random rows, in one batch and one by one, give the bits of the reference; gtest failures
// say which do not.
void CheckAgainstReference(const Graph& graph, const MakeExecutable& make, std::mt19937& random,
                           const ChooseConvTile& choose = DefaultConvTile, int64_t count = 3);

// Random convolutions of bits to bits, in every form that slices take (windows, borders, strides,
// limits that are always or never reached), give the bits of octets, which are those of the
// reference; gtest failures say which do not.
using MakeFromPlan = std::function<absl::StatusOr<std::unique_ptr<Executable>>(Signature signature,
                                                                               DevicePlan plan)>;
void CheckSlices(const MakeFromPlan& make, int count, std::mt19937& random);

// Some golden rows in batches of several sizes, on the backend of a device and on the CPU's: the
// same bits, or floats within the model's tolerance.
void CheckGoldenModel(const GoldenModel& model, const Backend& device, const Backend& cpu);

// Tiles of every kind, for CheckAgainstReference: octets, and blocks with runs of 1, 3 and as many
// pixels as fit, each in every size of work groups.
std::vector<ConvTile> AllConvTiles();

// Every combination of what goes into a low-bit layer, its weights and what comes out.
std::vector<LoweredKind> AllLoweredKinds();
std::string KindName(const LoweredKind& kind);

}  // namespace bitmill
