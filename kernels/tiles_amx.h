// Shapes of the tiles that kernels for AMX work with. Private to files that end in _amx.cc.
//
// Eight tile registers of 16 rows of 64 bytes: 0 to 3 are sums of 2 x 2 tiles, 4 and 5 rows of
// activations, 6 and 7 weights. While a kernel runs, its thread owns the configuration.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace bitmill {

inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kTileRowBytes = 64;
inline constexpr int64_t kTileBytes = kTileRows * kTileRowBytes;

// Configures full tiles for the life of the object; the registers hold nothing before and after.
class TileScope {
 public:
  TileScope() {
    struct alignas(64) Configuration {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } configuration;
    for (int tile = 0; tile < 8; ++tile) {
      configuration.row_bytes[tile] = kTileRowBytes;
      configuration.rows[tile] = kTileRows;
    }
    _tile_loadconfig(&configuration);
  }
  ~TileScope() { _tile_release(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

}  // namespace bitmill
