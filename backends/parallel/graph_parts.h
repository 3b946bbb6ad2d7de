// Parts of a lowered graph as graphs of their own: runs of nodes, and slices of a layer's output
// channels. What a part reads from another part, or gives to one, are ports of its graph; bits and
// codes stay what they are (backends/coded_port.h), so nothing is converted, and integers are the
// same bits wherever the graph is cut. Float maps that the CPU backend would keep channels
// innermost are handed over like that, so that its library sums in the same order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/graph.h"

namespace bitmill {

// A lowered graph, and which of its values are handed over channels innermost. Borrows the graph.
struct DividedGraph {
  const Graph& graph;
  std::vector<uint8_t> channels_last;  // by value; empty: none
};

// As the CPU backend would store the values of the whole graph. Errors are of that.
absl::StatusOr<DividedGraph> DivideForCpu(const Graph& lowered);

// Nodes first .. end - 1 of a graph.
struct NodeRange {
  size_t first = 0, end = 0;

  friend bool operator==(const NodeRange&, const NodeRange&) = default;
};

// How the bytes of a part's output lie in the value that it is a slice of: `blocks` runs of
// `bytes`, each `pitch` behind the one before, the first at `offset`. In the part's own row they
// lie back to back.
struct OutputSlice {
  int64_t blocks = 1, bytes = 0, pitch = 0, offset = 0;
};

struct PartOutput {
  ValueId value = kNoValue;  // of the whole graph
  int32_t port = -1;         // of the whole graph; -1: a later part reads it
  OutputSlice slice;
};

struct GraphPart {
  Graph graph;
  std::vector<ValueId> inputs;      // of the whole graph, port by port
  std::vector<PartOutput> outputs;  // port by port
};

// Bytes of a row of a value between parts, or of a port; 0: it cannot be handed over.
int64_t HandedRowBytes(const Value& value);

// The nodes of the range. Outputs are what later nodes read and what are outputs of the graph; a
// value that is several of these is as many outputs. `with_rest`: also the outputs of the graph
// that no node makes, which are one part's.
GraphPart PartOf(const DividedGraph& whole, NodeRange range, bool with_rest);

// Places between nodes where the graph can be cut: before node `i`, ascending, 1 .. nodes - 1. Left
// out are those that a value without a size in bytes would cross.
std::vector<size_t> PossibleCuts(const Graph& lowered);

// A rough cost of each node on a CPU, in microseconds a row.
std::vector<double> NodeMicros(const Graph& lowered);

// Ranges that cover the graph, cut at some of `cuts`, so that the largest sum of `micros`, times
// the scale of its range, is least; of equal ones those that hand over fewest bytes. As many as
// `scale` has, or fewer when there are too few cuts.
std::vector<NodeRange> BalancedRanges(const Graph& lowered, absl::Span<const size_t> cuts,
                                      absl::Span<const double> micros,
                                      absl::Span<const double> scale);

}  // namespace bitmill
