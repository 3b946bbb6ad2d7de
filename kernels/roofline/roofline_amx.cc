#include <immintrin.h>
#include <stdint.h>

#include "kernels/roofline/roofline_loops.h"
#include "kernels/tiles_amx.h"

namespace bitmill {

// Four sums of 16 x 16 numbers, so that one product of tiles need not wait for the last.
int64_t ByteMacsAmx(int64_t turns) {
  const TileScope scope;
  for (int64_t i = 0; i < turns; ++i) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  return 4 * kTileRows * kTileRows * kTileRowBytes;
}

}  // namespace bitmill
