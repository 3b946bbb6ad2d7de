// Which values are nothing but codes, and how that knowledge passes through operations that only
// move elements or scale them all alike.
#pragma once

#include <cstdint>
#include <optional>

#include "model/graph.h"

namespace bitmill {

// value = scale * (code - zero_point), element by element.
struct QuantizedView {
  CodeInfo info;
  // A lowered value that holds these codes, its elements in the same row-major order (the shapes
  // may differ); kNoValue when the codes have to be recovered from the float value first.
  ValueId codes = kNoValue;
};

// The view of chain(value): scalar factors and integer shifts change scale and zero point, a Relu
// drops codes. Nothing when the result is not of that form.
std::optional<QuantizedView> ViewThroughChain(const Chain& chain, const QuantizedView& view);

// Whether the node's only output has the elements of its first input in the same order: Identity,
// Flatten, Reshape, Squeeze, Unsqueeze, and a Transpose that moves no dimension but ones.
bool KeepsOrder(const Graph& graph, const Node& node);

// Whether a tensor of one shape, stored channels innermost, is stored as one of the other.
bool SameStorage(const Shape& a, const Shape& b);

// Whether codes (and so lowered values) can have this shape: [1,C] or [1,C,H,W], not empty.
bool CanHoldCodes(const Shape& shape);

}  // namespace bitmill
