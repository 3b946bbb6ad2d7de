// The order of the passes.
#include <utility>

#include "base/status_macros.h"
#include "model/passes/check_lowered.h"
#include "model/passes/elementwise.h"
#include "model/passes/fuse_epilogue.h"
#include "model/passes/graph_edit.h"
#include "model/passes/lower_float.h"
#include "model/passes/lower_quantized.h"
#include "model/passes/move_reshapes.h"
#include "model/passes/narrow_inputs.h"
#include "model/passes/passes.h"
#include "model/passes/token_images.h"

namespace bitmill {

absl::StatusOr<Graph> Lower(Graph graph) {
  BITMILL_RETURN_IF_ERROR(FoldConstants(graph));
  TokensToImages(graph);
  RemoveDeadNodes(graph);
  ChainElementwise(graph);
  MergeChains(graph);
  MoveReshapes(graph);
  MergeChains(graph);
  LowerQuantized(graph);
  RemoveDeadNodes(graph);
  // Splitting chains at quantizers leaves new neighbours.
  MergeChains(graph);
  HoistQuantizers(graph);
  MergeChains(graph);
  FuseEpilogues(graph);
  FoldFloatEpilogues(graph);
  RemoveDeadNodes(graph);
  ReadNarrowInputs(graph);
  RemoveDeadNodes(graph);
  FlattenQuantizers(graph);
  LowerFloat(graph);
  RemoveDeadNodes(graph);
  JoinAffineChains(graph);
  BITMILL_RETURN_IF_ERROR(CheckLowered(graph));
  return graph;
}

}  // namespace bitmill
