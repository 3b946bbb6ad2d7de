// How close a row comes to flipping what low-bit layers say: of their thresholds, how many lie
// within one count of the sum that is compared with them. A model whose margins shrink is about to
// answer otherwise, before its accuracy tells.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/graph.h"

namespace bitmill {

struct MarginCounts {
  int64_t thresholds = 0;  // that were compared with: outputs times levels - 1
  int64_t near = 0;        // that the sum would cross by one count up or down
  double share() const {
    return thresholds == 0 ? 0 : static_cast<double>(near) / static_cast<double>(thresholds);
  }
};

// Runs the reference of lowered graphs (lowered_reference.h), slowly: about twice a plain loop over
// the model's multiply-accumulates. Immutable; threads may share it.
class SignMarginProbe {
 public:
  // `lowered` must hold its constants.
  explicit SignMarginProbe(Graph lowered);

  // Whether the graph has layers with thresholds at all.
  bool empty() const { return probes_.empty(); }
  // One row, inputs in the order of the graph's ports. One count is the least by which a sum can
  // change: 2 where both operands are -1 or +1 (one bit that flips), otherwise 1. Thresholds that
  // are always or never reached are not counted. Errors of RunLoweredValues.
  absl::StatusOr<MarginCounts> Count(absl::Span<const TensorView> inputs) const;

 private:
  struct Probe {
    size_t node = 0;  // of graph_: a layer with thresholds
    ValueId sums = kNoValue;
    int32_t count = 1;
  };
  Graph graph_;  // with a second layer beside each probed one, that gives the plain sums
  std::vector<Probe> probes_;
};

}  // namespace bitmill
