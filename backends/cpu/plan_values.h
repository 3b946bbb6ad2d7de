// What the plan builder decides about each value before it makes steps: who produces and consumes
// it, which values are the same memory, how it is stored, and which border it carries.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cpu/buffer_layout.h"
#include "backends/cpu/steps.h"
#include "model/graph.h"

namespace bitmill {

struct ValueUse {
  ValueId same_as = kNoValue;      // the value whose memory this one is (itself unless an alias)
  bool renamed = false;            // another value that is no image of the same channels is the
                                   // same memory: elements stay in order
  int32_t input_port = -1;         // when it is a graph input
  int32_t producer = -1;           // node
  std::vector<int32_t> consumers;  // nodes, of this value and its aliases; once a use
  bool is_output = false;          // it or an alias of it
  // The value whose first channels this one is, in the same memory; kNoValue: none. The layout has
  // the pixels of that one.
  ValueId part_of = kNoValue;
  bool has_part = false;  // another value is part of it
  BufferLayout layout;    // with the border that consumers share
};

// Analysis of a lowered graph, indexed by ValueId; layouts of dynamic values are filled in.
absl::StatusOr<std::vector<ValueUse>> AnalyseValues(const Graph& graph);

// A node that only renames its input: Reshape and its kin, on a value held as plain elements.
bool IsAliasNode(const Graph& graph, const Node& node);

// The operation of a node that combines two computed float tensors of one shape; nothing for
// others.
std::optional<BinaryOp> BinaryOpOf(const Graph& graph, const Node& node);

// The pooling of a node on a float map; nothing for others.
std::optional<FloatPool> FloatPoolOf(const Graph& graph, const Node& node);

// A Concat of computed float maps along their channels.
bool IsChannelConcat(const Graph& graph, const Node& node);

// Whether the convolution reads bits directly (1-bit or ternary weights).
bool UsesBitKernel(const LowBitConvOp& op, const Value& input);

// The border that a convolution wants around its input, given how the input is stored; empty when
// it makes its own or needs none.
absl::StatusOr<Border> WantedBorder(const Graph& graph, const Node& node, const LowBitConvOp& op);

// Whether the convolution gains when pixels of its code input lie side by side, so that a line of
// its kernel is one run of bytes (images of 1 to 3 channels).
bool GainsFromTightCodes(const Graph& graph, const Node& node, const LowBitConvOp& op);

// Whether a buffer with border `have` serves a reader that wants `want`.
bool BorderServes(const Border& have, const Border& want);

}  // namespace bitmill
