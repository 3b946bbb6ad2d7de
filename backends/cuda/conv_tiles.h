// Which kernels compute the convolutions of a CUDA device where nothing was measured.
#pragma once

#include "backends/device/device_plan.h"

namespace bitmill {

// `compute_capability` is 10 * major + minor: 90 for H100. Tiles on tensor cores for all but
// groups of other than whole tiles and words: as bits where the chip multiplies bits (8.0 to 9.0;
// later ones emulate it with a hundred instructions a product), as bytes elsewhere. 128 pixels a
// tile where that still keeps every multiprocessor busy, 32 otherwise. On 9.0 wide tiles are
// products of four warps, and of 128 outputs where these are enough.
inline ChooseConvTile CudaConvTiles(int compute_capability) {
  constexpr int64_t kBlock = device::kBlock;
  constexpr int64_t kWide = 128, kNarrow = 32;
  constexpr int64_t kBusy = 256;  // tiles; an H100 has 132 multiprocessors
  constexpr int kHopper = 90;     // the only one with products of four warps
  return [compute_capability](const ConvShape& shape) {
    ConvTile tile;
    const int64_t group_outputs = shape.outputs / shape.groups;
    const int64_t word = shape.bits_in ? 64 : 8;  // channels
    const bool whole = group_outputs % kBlock == 0 && shape.channels % word == 0;
    if (compute_capability < 80 || (shape.groups > 1 && !whole)) return tile;
    const bool bits = shape.bits_in && (shape.weight_bits == 1 || shape.ternary);
    tile.tensor = bits && compute_capability < 100 ? ConvTensor::kBits : ConvTensor::kBytes;
    const int64_t pixels = shape.rows * shape.out_height * shape.out_width;
    const int64_t blocks = (shape.outputs + kBlock - 1) / kBlock;
    const int64_t wide_tiles = (pixels + kWide - 1) / kWide * blocks;
    const bool wide = wide_tiles >= kBusy;
    tile.pixels = static_cast<int32_t>(wide ? kWide : kNarrow);
    tile.by_group = wide && compute_capability == kHopper;
    // Half as many tiles, and none that is half empty.
    const bool broad =
        tile.by_group && group_outputs % (2 * kBlock) == 0 && wide_tiles / 2 >= kBusy;
    tile.outputs = static_cast<int32_t>(broad ? 2 * kBlock : kBlock);
    return tile;
  };
}

}  // namespace bitmill
