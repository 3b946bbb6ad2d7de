// Measures on a device which tile of each of a model's low-bit convolutions is fastest there.
//
// All tiles of a shape are steps of one plan that reads one input, so that they run in turn; the
// device's own times of a step are held against those of the usual tile in the same run, and the
// median of the ratios counts, with one row and with as many as usually run together. What comes of
// it is kept by the device (PlanDevice::Keep), one shape a name, and not measured again. Tiles
// never change results.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/device/device_plan.h"
#include "backends/device/device_stream.h"
#include "base/clock.h"
#include "model/graph.h"

namespace bitmill {

struct TileTuning {
  ChooseConvTile choose;  // the tiles that won, by shape; the device's own for all others
  int measured = 0;       // shapes
  int kept = 0;           // of earlier measurements
  int untried = 0;        // for which the time was too short
  double gain = 1.0;      // what was measured now: all its layers, the usual way over the new one

  // "tiles of 3 shapes measured, 1.17 times as fast", "tiles of 3 shapes as measured before"; empty
  // when there is nothing to say.
  std::string Text() const;
};

// The device's tiles of a shape, each once, the usual one first.
std::vector<ConvTile> TilesOf(const PlanDevice& device, const ConvShape& shape);

// `lowered` is what Lower() made. Spends up to about `seconds`, first on what computes most; 0:
// what was kept is used and nothing measured. Where something cannot be measured the usual tiles
// stay, and the log says why.
TileTuning TuneTiles(const std::shared_ptr<const PlanDevice>& device, const Graph& lowered,
                     int64_t max_rows, double seconds, const Clock& clock);

}  // namespace bitmill
