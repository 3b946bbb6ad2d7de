// Chains that are affine, a * x + b, folded in double precision.
#pragma once

#include <cstdint>
#include <vector>

#include "model/lowered.h"

namespace bitmill {

struct Affine {
  double a = 1.0;
  double b = 0.0;
};

// Applies the step after `map` when it is affine (Add, Sub, Mul, Div, ReverseSub, Neg with a finite
// operand); false, and nothing done, when it is not.
bool AppendAffine(const ChainStep& step, int64_t channel, Affine& map);

// Number of steps at the beginning of the chain that are affine for all channels.
size_t AffinePrefix(const Chain& chain, int64_t channels);

// An affine chain with clamps (Clip, Relu, HardTanh) anywhere: the affine map and the clamp that
// follows it do the same, since clamping commutes with monotone maps.
struct ClampedAffine {
  Affine map;
  double low, high;  // of the result
};
// False when the chain has another step, or an operand is not finite.
bool FoldClampedAffine(const Chain& chain, int64_t channel, ClampedAffine* result);

// A chain behind a linear layer, as far as the layer can take it over.
struct FoldedChain {
  std::vector<Affine> maps;  // [channels], of the layer's outputs
  Chain rest;                // what remains to be done behind them
};
// The affine steps at the beginning; where more of them follow clamps (a batch norm behind a Relu)
// these too, and all those clamps become one Clip with bounds of each channel.
FoldedChain FoldIntoLayer(const Chain& chain, int64_t channels);

// The chain with neighbouring affine steps joined, in double precision, where that saves a step or
// a division: a product and a sum are left of a batch norm.
Chain JoinAffineSteps(const Chain& chain);

}  // namespace bitmill
