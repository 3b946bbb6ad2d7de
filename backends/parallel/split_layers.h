// Tensor parallelism: the output channels of a layer in slices.
#pragma once

#include <cstddef>
#include <vector>

#include "backends/parallel/graph_parts.h"
#include "model/graph.h"

namespace bitmill {

// Whether the node is a layer whose output channels can be computed apart, to the same bits, in at
// least two slices: a low-bit convolution without groups, or a dense float layer. (A library's
// float convolution may sum in another order when it has fewer outputs, so it stays whole.)
bool CanSplit(const Graph& lowered, const Node& node);

// Its slices, at most `parts` of nearly the same size, each the graph of one node. Sizes are
// multiples of what shares a word or a block of a kernel: 64 channels of bits, 16 of others, but
// for the last. Only for nodes that can be split.
std::vector<GraphPart> SlicesOf(const DividedGraph& whole, size_t node, int parts);

// The nodes to be split, ascending: those that can and have at least `share` of the model's
// estimated time, or the one that has most. Empty when none can.
std::vector<size_t> LayersToSplit(const Graph& lowered, double share);

}  // namespace bitmill
