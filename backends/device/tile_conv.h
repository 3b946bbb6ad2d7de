// The tables of the tile kernels (kernels/cuda/conv_tile.cuh).
#pragma once

#include <string>

#include "absl/status/status.h"
#include "backends/device/device_plan.h"
#include "backends/device/plan_writer.h"
#include "model/lowered.h"

namespace bitmill {

// "bm_tile_bits_128", or "bm_group_bits_128x64" of products of a group: `tile.tensor` is not kNone.
// Bits as bits take weights of 1 bit and ternary ones.
std::string TileKernelName(const LowBitConvOp& op, const ConvTile& tile, const DeviceValue& in);

// Whether a tile has outputs of one group alone, and a group whole words of a pixel.
bool TilesFit(const ConvShape& shape, const ConvTile& tile);

// Weights, totals, edges, limits and the launch of a step whose window is set; TilesFit().
// ResourceExhausted when the weights are more than a kernel can address.
absl::Status SetTiles(const LowBitConvOp& op, const ConvTile& tile, const DeviceValue& in,
                      const DeviceValue& out, PlanWriter& writer, DeviceStep& step);

}  // namespace bitmill
