// Joins what follows a low-bit convolution with it.
#pragma once

#include "model/graph.h"

namespace bitmill {

// Quantizing commutes with taking a maximum: moves a QuantizeOp (and the chain before it) from
// behind a MaxPool to before it, so that pooling runs on bits or codes, when the pooled value comes
// from a low-bit convolution. Channels whose chain falls are pooled with the minimum.
void HoistQuantizers(Graph& graph);

// Quantizing commutes with a reshape: a QuantizeOp that feeds only dense layers (convolutions whose
// kernel is the whole image) quantizes the flattened value instead, so that its bits fill words
// even when the image has few channels.
void FlattenQuantizers(Graph& graph);

// Chain and quantizer behind a low-bit convolution become integer thresholds, or one scale and bias
// a channel where the quantizer is uniform, has many levels, and the chain is affine but for
// clamping; a chain alone joins the float epilogue. QuantizeOp elsewhere absorbs the chain before
// it into float thresholds. Chains that are not monotone stay as they are.
void FuseEpilogues(Graph& graph);

// Folds the affine beginning of every float epilogue's chain into scale and bias.
void FoldFloatEpilogues(Graph& graph);

}  // namespace bitmill
