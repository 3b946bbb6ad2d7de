// `precision: fast`: which float layers become int8, with which ranges, and what that costs.
//
// Layers are taken in the order of the network, each set on what the sets before it give: a layer
// sees the values of the network that will run, and since integer layers give the same bits
// everywhere, so are its ranges. For each set the samples run twice: once for a histogram of the
// inputs, once with int8 twins beside the float layers. A twin takes the whole range that was seen,
// another the range with the smallest mean square error over the histogram; the one with the
// smaller error on the layer's own output stays, or the float layer does where both are bad.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "backends/backend.h"
#include "backends/cpu/step_builder.h"
#include "model/graph.h"
#include "model/passes/quantize_float.h"

namespace bitmill {

// What became of one float layer.
struct LayerPrecision {
  std::string name;
  int64_t macs = 0;
  bool int8 = false;
  std::string reason;        // why it stayed float; empty when it did not
  ActivationRange seen;      // of its input; not set where nothing was measured
  ActivationRange used;      // int8: narrower than `seen` where clipping is better
  double error = 0.0;        // root mean square of the change of its output, relative to the output
  double other_error = 0.0;  // with the range that was not chosen
};

struct FastModel {
  Graph graph;  // lowered
  std::vector<LayerPrecision> layers;
  int64_t rows = 0;  // samples used
};

// `lowered` has `samples` as inputs (packed as Signature says). Large networks use a part of the
// samples, evenly spread. `working_bytes` as in CompileOptions. InvalidArgument when the samples do
// not fit the graph or there are none; otherwise errors of compiling and running the graph.
absl::StatusOr<FastModel> MakeFast(const Graph& lowered, const SampleRows& samples,
                                   const KernelSet& kernels, int64_t working_bytes = 0);

// What MakeFast found for an executable that was compiled with Precision::kFast; empty otherwise.
std::string DescribePrecision(const Executable& executable);

// A table: one line a float layer.
std::string DescribeLayers(absl::Span<const LayerPrecision> layers, int64_t rows);

}  // namespace bitmill
