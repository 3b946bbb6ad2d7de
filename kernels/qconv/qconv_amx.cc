// Bytes of activations times bytes of weights on tiles: tdpbusd multiplies 16 pixels x 64 bytes by
// 64 x 16 weights in 16 cycles, 1,024 products a cycle, exactly in 32 bits.
//
// 16 steps are a tile. Weights below 8 bits become bytes for 32 channels at a time (a strip) where
// they then stay in the first-level cache while all positions meet them; otherwise two steps before
// they are multiplied, anew for every 32 positions: bytes that leave that cache cost more than
// making them (a store that misses it takes 7 cycles, a tile product 16). 8-bit weights of whole
// tiles are used as they lie.
//
// Where the 16 steps of each tile are one run of bytes, tiles of positions are read from the input,
// 16 rows at the distance of output pixels; positions between the lines' ends (the border) are
// computed in vain where that takes fewer tiles than starting anew in each line. Otherwise windows
// are copied, one a row, run by run.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_store_amx.h"
#include "kernels/qconv/qconv_tiles_amx.h"

namespace bitmill {

void QconvAmx(const QconvArgs& args);
int64_t PreparedQconvBytesAmx(const QconvArgs& args);
void PrepareQconvAmx(const QconvArgs& args, void* prepared);
int64_t QconvScratchBytesAmx(const QconvArgs& args);
void QconvAvx512Vpopcnt(const QconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;  // of a block
// What of the input is read again and again before the next part of it.
constexpr int64_t kPartBytes = 1024 * 1024;
constexpr int64_t kRowsBytes = 512 * 1024;  // the same of copied windows
// So few pixels are left to the kernel that needs no tiles.
constexpr int64_t kFewPixels = 8;
// So few tiles of positions are not worth a strip.
constexpr int64_t kFewTiles = 4;
constexpr int64_t kFirstCacheBytes = 48 * 1024;

int64_t StepTiles(const QconvArgs& args) {
  return RoundUpTo(args.steps, kQconvTileSteps) / kQconvTileSteps;
}
int64_t ChannelTiles(const QconvArgs& args) {
  return RoundUpTo(args.out_channels, kTileRows) / kTileRows;
}
int64_t ChannelTileBytes(const QconvArgs& args) { return StepTiles(args) * kTileBytes; }

// Whether weights lie as tiles do.
bool AreTiles(const QconvArgs& args) {
  return args.kind == QconvWeights::k8Bit && args.steps % kQconvTileSteps == 0 &&
         RoundUpTo(args.out_channels, kLanes) % kTileRows == 0;
}

// A run of at most 64 bytes of a window, and where it goes in a row.
struct Piece {
  int64_t from, to;
  __mmask64 bytes;
};

// Copied windows, a row each, an odd number of lines of the cache apart.
struct Rows {
  Piece* pieces;  // [piece_count]
  int64_t piece_count;
  uint8_t* bytes;
  int64_t row_bytes;
};

int64_t RowBytes(const QconvArgs& args) { return (StepTiles(args) | 1) * kTileRowBytes; }

// Rows for a part of a call, and for as much of one with fewer pixels.
int64_t RowCount(const QconvArgs& args) {
  const int64_t pixels = RoundUpTo(QconvPixelsOf(args), 2 * kTileRows);
  const int64_t fitting = kRowsBytes / RowBytes(args) / (2 * kTileRows) * (2 * kTileRows);
  const int64_t most = fitting < 2 * kTileRows ? 2 * kTileRows : fitting;
  return pixels < most ? pixels : most;
}

void FindPieces(const QconvArgs& args, Rows* rows) {
  rows->piece_count = 0;
  for (int64_t s = 0; s < args.steps;) {
    int64_t count = 1;
    while (count < kQconvTileSteps && s + count < args.steps &&
           args.step_bytes[s + count] == args.step_bytes[s] + count * kQconvStepBytes) {
      ++count;
    }
    rows->pieces[rows->piece_count++] = {args.step_bytes[s], s * kQconvStepBytes,
                                         ~uint64_t{0} >> (64 - count * kQconvStepBytes)};
    s += count;
  }
}

// What a piece writes behind its end, the next one or the next row writes over.
void CopyTile(const QconvArgs& args, const QconvGrid& grid, const Rows& rows, const QconvTile& tile,
              uint8_t* out) {
  ForQconvRuns(args, grid, tile, [&](int64_t row, int64_t count, const QconvTile& first) {
    const uint8_t* window = QconvWindowOf(args, first);
    uint8_t* to = out + row * rows.row_bytes;
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t p = 0; p < rows.piece_count; ++p) {
        const Piece& piece = rows.pieces[p];
        const __m512i bytes = _mm512_maskz_loadu_epi8(piece.bytes, window + piece.from);
        if (piece.bytes >> 32 == 0) {  // fewer stores across lines of the cache
          _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + piece.to),
                              _mm512_castsi512_si256(bytes));
        } else {
          _mm512_storeu_si512(to + piece.to, bytes);
        }
      }
      window += args.stride_w * args.pixel_bytes;
      to += rows.row_bytes;
    }
  });
}

// 1 or 2 tiles of positions times 1 or 2 of channels, into tile registers 0 to 3.
struct Product {
  const uint8_t* positions[2];
  int64_t position_bytes;
  const int32_t* offsets;    // of the positions' tiles, [step_tiles]
  const int8_t* weights[2];  // as tiles, or null:
  QconvExpansion expansions[2];
  QconvExpandFn expand;
  const int32_t* base;  // [2][16]
};

// Weights that are not tiles yet become so two steps before they are multiplied.
template <int kPositions, int kChannels, bool kExpand>
void Multiply(const Product& product, int64_t step_tiles) {
  constexpr int64_t kAhead = 2, kSlots = 3;
  alignas(64) int8_t expanded[kExpand ? kSlots : 1][kChannels][kTileBytes];
  QconvExpansion expansions[kChannels];
  const auto expand = [&](int64_t step) {
    for (int64_t c = 0; c < kChannels; ++c) {
      expansions[c].tiles = expanded[step % kSlots][c];
      product.expand(expansions[c]);
    }
  };
  const auto weights = [&](int64_t step, int64_t channel_tile) -> const int8_t* {
    if constexpr (kExpand) return expanded[step % kSlots][channel_tile];
    return product.weights[channel_tile] + step * kTileBytes;
  };
  if constexpr (kExpand) {
    for (int64_t c = 0; c < kChannels; ++c) expansions[c] = product.expansions[c];
    for (int64_t i = 0; i < kAhead && i < step_tiles; ++i) expand(i);
  }
  _tile_loadd(0, product.base, 0);
  if constexpr (kChannels == 2) _tile_loadd(1, product.base + kTileRows, 0);
  if constexpr (kPositions == 2) _tile_loadd(2, product.base, 0);
  if constexpr (kPositions == 2 && kChannels == 2) _tile_loadd(3, product.base + kTileRows, 0);
  for (int64_t i = 0; i < step_tiles; ++i) {
    const int64_t offset = product.offsets[i];
    _tile_loadd(6, weights(i, 0), kTileRowBytes);
    _tile_loadd(4, product.positions[0] + offset, product.position_bytes);
    _tile_dpbusd(0, 4, 6);
    if constexpr (kChannels == 2) {
      _tile_loadd(7, weights(i, 1), kTileRowBytes);
      _tile_dpbusd(1, 4, 7);
    }
    if constexpr (kPositions == 2) {
      _tile_loadd(5, product.positions[1] + offset, product.position_bytes);
      _tile_dpbusd(2, 5, 6);
      if constexpr (kChannels == 2) _tile_dpbusd(3, 5, 7);
    }
    if (kExpand && i + kAhead < step_tiles) expand(i + kAhead);
  }
}

using MultiplyFn = void (*)(const Product& product, int64_t step_tiles);
constexpr MultiplyFn kMultiply[2][2][2] = {  // [position tiles][channel tiles][to be expanded]
    {{Multiply<1, 1, false>, Multiply<1, 1, true>}, {Multiply<1, 2, false>, Multiply<1, 2, true>}},
    {{Multiply<2, 1, false>, Multiply<2, 1, true>}, {Multiply<2, 2, false>, Multiply<2, 2, true>}}};

void CopyBase(const QconvArgs& args, int64_t channel, int32_t* base) {
  for (int64_t i = 0; i < 2; ++i, channel += kTileRows) {
    const __m512i lanes = _mm512_maskz_loadu_epi32(LanesFrom(args, channel), args.base + channel);
    _mm512_store_si512(base + i * kTileRows, lanes);
  }
}

// A call and its scratch.
struct Call {
  const QconvArgs& args;
  QconvGrid grid;
  Rows rows;
  const int8_t* tiles;  // weights of all channels, or null
  int8_t* strip;        // room for those of 2 tiles of channels
  QconvExpandFn expand;
  int32_t* offsets;       // [step tiles], of bytes from the start of a window
  int32_t* rows_offsets;  // likewise of a copied one
};

// Whether rows of `tile` would lie behind the last pixel's window.
bool MustBeCopied(const Call& call, const QconvTile& tile) {
  if (call.grid.copied) return false;
  return QconvWindowOf(call.args, tile) + (kTileRows - 1) * call.grid.position_bytes >
         call.grid.last;
}

// 1 or 2 neighbouring tiles of positions.
struct Positions {
  QconvTile tiles[2];
  int64_t count;
};

// Tile `tile`, number `t` of `count`, and the next one where it can be read likewise; returns the
// tile behind.
inline __attribute__((always_inline)) QconvTile FindPositions(const Call& call,
                                                              const QconvTile& tile, int64_t t,
                                                              int64_t count, Positions* positions,
                                                              Product* product) {
  const QconvTile next = NextQconvTile(call.args, call.grid, tile);
  const bool copies = MustBeCopied(call, tile);
  const bool rows = copies || call.grid.copied;
  *positions = {{tile, next}, !copies && t + 1 < count && !MustBeCopied(call, next) ? 2 : 1};
  if (copies) CopyTile(call.args, call.grid, call.rows, tile, call.rows.bytes);
  for (int64_t i = 0; i < positions->count; ++i) {
    product->positions[i] =
        rows ? call.rows.bytes + (copies ? 0 : t + i) * kTileRows * call.rows.row_bytes
             : QconvWindowOf(call.args, positions->tiles[i]);
  }
  product->position_bytes = rows ? call.rows.row_bytes : call.grid.position_bytes;
  product->offsets = rows ? call.rows_offsets : call.offsets;
  return positions->count == 2 ? NextQconvTile(call.args, call.grid, next) : next;
}

// The weights and base of the channels of 1 or 2 tiles.
void FindWeights(const Call& call, int64_t channel_tile, int64_t wide, int32_t* base,
                 Product* product) {
  CopyBase(call.args, channel_tile * kTileRows, base);
  product->base = base;
  for (int64_t i = 0; i < wide; ++i) {
    const int64_t tile = channel_tile + i;
    if (call.tiles != nullptr) {
      product->weights[i] = call.tiles + tile * ChannelTileBytes(call.args);
    } else {
      product->expansions[i] = QconvExpansionOf(call.args, tile, nullptr);
    }
  }
}

inline __attribute__((always_inline)) void Run(const Call& call, const Positions& positions,
                                               int64_t channel_tile, int64_t wide, bool expands,
                                               const Product& product) {
  kMultiply[positions.count - 1][wide - 1][expands](product, StepTiles(call.args));
  for (int i = 0; i < positions.count; ++i) {
    StoreTile(call.args, call.grid, positions.tiles[i], channel_tile * kTileRows, i * 2, wide);
  }
}

// Whether weights had better become bytes as they are multiplied: a strip would serve few
// positions, or not stay in the first cache beside them.
bool ExpandsBeside(const Call& call, int64_t count) {
  if (call.tiles != nullptr) return false;
  if (count <= kFewTiles) return true;
  const int64_t step_tiles = StepTiles(call.args);
  const int64_t window = call.grid.copied ? 0 : call.offsets[step_tiles - 1] + kTileRowBytes;
  const int64_t position = call.grid.copied ? call.rows.row_bytes : call.grid.position_bytes;
  const int64_t strip = 2 * ChannelTileBytes(call.args);
  return strip + window + 2 * kTileRows * position > kFirstCacheBytes;
}

// `count` tiles of positions from `first` on, which in copied rows are the first ones.
void RunPart(const Call& call, const QconvTile& first, int64_t count) {
  const QconvArgs& args = call.args;
  const int64_t channel_tiles = ChannelTiles(args);
  const auto wide = [&](int64_t c) { return channel_tiles - c >= 2 ? 2 : 1; };
  alignas(64) int32_t base[2 * kTileRows];
  Product product = {};
  Positions positions;
  product.expand = call.expand;
  const bool expands = ExpandsBeside(call, count);
  if (expands || call.tiles != nullptr) {
    // Positions stay in the first cache while all weights pass by.
    QconvTile tile = first;
    for (int64_t t = 0; t < count; t += positions.count) {
      tile = FindPositions(call, tile, t, count, &positions, &product);
      for (int64_t c = 0; c < channel_tiles; c += 2) {
        FindWeights(call, c, wide(c), base, &product);
        Run(call, positions, c, wide(c), expands, product);
      }
    }
    return;
  }
  for (int64_t c = 0; c < channel_tiles; c += 2) {
    FindWeights(call, c, wide(c), base, &product);
    for (int64_t i = 0; i < wide(c); ++i) {
      int8_t* const tiles = call.strip + i * ChannelTileBytes(args);
      product.weights[i] = product.expansions[i].tiles = tiles;
      while (product.expansions[i].steps > 0) call.expand(product.expansions[i]);
    }
    QconvTile tile = first;
    for (int64_t t = 0; t < count; t += positions.count) {
      tile = FindPositions(call, tile, t, count, &positions, &product);
      Run(call, positions, c, wide(c), false, product);
    }
  }
}

int64_t PartTiles(const Call& call) {
  if (call.grid.copied) return RowCount(call.args) / kTileRows;
  const int64_t tile_bytes = kTileRows * call.grid.position_bytes;
  const int64_t tiles = kPartBytes / tile_bytes / 2 * 2;
  return tiles < 2 ? 2 : tiles;
}

// What scratch holds, each on a line of the cache.
struct ScratchPlan {
  int64_t strip, offsets, rows_offsets, pieces, rows, bytes;
};

ScratchPlan PlanScratch(const QconvArgs& args) {
  const int64_t offsets_bytes =
      RoundUpTo(StepTiles(args) * int64_t{sizeof(int32_t)}, kTileRowBytes);
  ScratchPlan plan = {};
  plan.offsets = 2 * ChannelTileBytes(args);
  plan.rows_offsets = plan.offsets + offsets_bytes;
  plan.pieces = plan.rows_offsets + offsets_bytes;
  plan.rows = plan.pieces + RoundUpTo(int64_t{args.steps} * int64_t{sizeof(Piece)}, kTileRowBytes);
  plan.bytes = plan.rows + RowCount(args) * RowBytes(args) + kTileRowBytes;
  return plan;
}

Call MakeCall(const QconvArgs& args) {
  auto* const scratch = static_cast<uint8_t*>(args.scratch);
  const ScratchPlan plan = PlanScratch(args);
  Call call = {
      args,
      QconvGridOf(args),
      {reinterpret_cast<Piece*>(scratch + plan.pieces), 0, scratch + plan.rows, RowBytes(args)},
      static_cast<const int8_t*>(args.prepared != nullptr ? args.prepared
                                 : AreTiles(args)         ? args.weights
                                                          : nullptr),
      reinterpret_cast<int8_t*>(scratch + plan.strip),
      QconvExpandTileAmx(args.kind),
      reinterpret_cast<int32_t*>(scratch + plan.offsets),
      reinterpret_cast<int32_t*>(scratch + plan.rows_offsets)};
  FindPieces(args, &call.rows);
  for (int64_t i = 0; i < StepTiles(args); ++i) {
    call.offsets[i] = args.step_bytes[i * kQconvTileSteps];
    call.rows_offsets[i] = static_cast<int32_t>(i * kTileRowBytes);
  }
  return call;
}

}  // namespace

int64_t PreparedQconvBytesAmx(const QconvArgs& args) {
  if (args.kind != QconvWeights::k8Bit || args.sparse != nullptr || AreTiles(args)) return 0;
  return ChannelTiles(args) * ChannelTileBytes(args);
}

void PrepareQconvAmx(const QconvArgs& args, void* prepared) {
  const QconvExpandFn expand = QconvExpandTileAmx(args.kind);
  for (int64_t tile = 0; tile < ChannelTiles(args); ++tile) {
    QconvExpansion expansion = QconvExpansionOf(
        args, tile, static_cast<int8_t*>(prepared) + tile * ChannelTileBytes(args));
    while (expansion.steps > 0) expand(expansion);
  }
}

int64_t QconvScratchBytesAmx(const QconvArgs& args) {
  return QconvPixelsOf(args) <= kFewPixels ? 0 : PlanScratch(args).bytes;
}

void QconvAmx(const QconvArgs& args) {
  if (args.scratch == nullptr || args.sparse != nullptr || QconvPixelsOf(args) <= kFewPixels) {
    QconvArgs plain = args;
    plain.prepared = nullptr;  // it is of another form
    QconvAvx512Vpopcnt(plain);
    return;
  }
  const Call call = MakeCall(args);
  const int64_t part_tiles = PartTiles(call);
  const TileScope scope;
  for (QconvTile first = {}; first.image < args.batch;) {
    QconvTile tile = first;
    int64_t count = 0;
    for (; count < part_tiles && tile.image < args.batch; ++count) {
      if (call.grid.copied) {
        CopyTile(args, call.grid, call.rows, tile,
                 call.rows.bytes + count * kTileRows * call.rows.row_bytes);
      }
      tile = NextQconvTile(args, call.grid, tile);
    }
    RunPart(call, first, count);
    first = tile;
  }
}

}  // namespace bitmill
