// Bits as bytes on tiles: tdpbusd multiplies 16 pixels x 64 channels of 0 and 1 by 64 x 16 weights
// of -1, 0 and 1 in 16 cycles, 1,024 products a cycle, three times what vpopcntq counts.
//
// The differing signs of a 1-bit product are those of its activations under weights +1 and the
// others under weights -1, so x = sum(w * a) + the number of weights -1; ternary likewise.
//
// Weights are prepared as masks of the bytes that a row of a tile holds, one bit a weight: bytes
// are made of them as they are needed, since reading bytes from beyond the second-level cache would
// take longer. Activations become bytes once, whatever the number of taps that read them: a tile is
// 16 positions at equal distances in that image of bytes. Positions between the lines' ends (the
// border) are computed in vain where that takes fewer tiles than starting anew in each line.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bconv/bconv_parts.h"
#include "kernels/tiles_amx.h"

namespace bitmill {

void BconvAmx(const BconvArgs& args);
int64_t PreparedBconvBytesAmx(const BconvArgs& args);
void PrepareBconvAmx(const BconvArgs& args, void* prepared);
int64_t BconvScratchBytesAmx(const BconvArgs& args);
bool BconvFinishesAmx(const BconvArgs& args);
bool BconvStoresPlanesAmx(const BconvArgs& args);
void BconvAvx512Vpopcnt(const BconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kStripChannels = 2 * kTileRows;  // whose weights are bytes at a time
constexpr int64_t kWordBytes = 64;                 // of a word of bits, as bytes
// Activations of a call become bytes in parts of about this size.
constexpr int64_t kImageBytes = 512 * 1024;
// Fewer pixels are left to the kernel that needs no tiles: making bytes of the weights costs as
// much as some 20 pixels, and of the activations as much as 32 channels. Measured: 1,024 channels
// gain from 48 pixels on, 64 from 96.
constexpr int64_t kEnoughPixels = 48;
constexpr int64_t kEnoughPixelsOfFewChannels = 128;
constexpr int64_t kFewChannels = 128;

bool HasFewPixels(const BconvArgs& args) {
  if (args.sparse != nullptr) return true;  // left to avx512vpopcnt as well
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  return pixels < (args.out_channels < kFewChannels ? kEnoughPixelsOfFewChannels : kEnoughPixels);
}
int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
int64_t Words(const BconvArgs& args) { return int64_t{args.taps} * args.c_words; }
int64_t ChannelTiles(const BconvArgs& args) {
  return RoundUp(args.out_channels, kTileRows) / kTileRows;
}
int64_t StripBytes(const BconvArgs& args) { return kStripChannels * Words(args) * kWordBytes; }
int64_t MaskWords(const BconvArgs& args) { return Words(args) * args.planes * kTileRows; }

// Where output pixels lie as positions, stride_w pixels apart, in the input.
struct Grid {
  int64_t position_words;
  int64_t line_positions;  // from one output line to the next, 0: not a whole number
  int64_t last_word;       // of the window of pixel (0, 0)
};

Grid GridOf(const BconvArgs& args) {
  Grid grid = {};
  grid.position_words = int64_t{args.stride_w} * args.pixel_words;
  const int64_t line_words = args.stride_h * args.row_words;
  if (args.out_h == 1) {
    grid.line_positions = args.out_w;
  } else if (line_words % grid.position_words == 0) {
    grid.line_positions = line_words / grid.position_words;
  }
  for (int32_t t = 0; t < args.taps; ++t) {
    const int64_t last = args.tap_words[t] + args.c_words - 1;
    if (last > grid.last_word) grid.last_word = last;
  }
  return grid;
}

// Whether tiles run on from one output line to the next.
bool RunsOn(const BconvArgs& args, const Grid& grid) {
  if (grid.line_positions < args.out_w) return false;
  const int64_t positions = (args.out_h - 1) * grid.line_positions + args.out_w;
  return RoundUp(positions, kTileRows) <= args.out_h * RoundUp(args.out_w, kTileRows);
}

int64_t SpanWords(const BconvArgs& args, const Grid& grid, int64_t lines) {
  return (lines - 1) * args.stride_h * args.row_words + (args.out_w - 1) * grid.position_words +
         grid.last_word + 1;
}

// Lines of one pixel become one line.
BconvArgs Flattened(const BconvArgs& args) {
  BconvArgs flat = args;
  if (args.out_w > 1 || args.row_class != nullptr) return flat;
  flat.pixel_words = static_cast<int32_t>(args.stride_h * args.row_words);
  flat.stride_w = 1;
  flat.out_w = args.out_h;
  flat.out_pixel = args.out_row;
  flat.out_h = 1;
  return flat;
}

// What of a call is computed at a time.
struct Part {
  int64_t images, lines;
  int64_t image_words;  // of one image's lines
};

Part PartOf(const BconvArgs& args, const Grid& grid) {
  Part part = {args.batch, args.out_h, SpanWords(args, grid, args.out_h)};
  const int64_t most_words = kImageBytes / kWordBytes;
  if (part.image_words > most_words) {
    const int64_t line_words = args.stride_h * args.row_words;
    const int64_t lines = (most_words - SpanWords(args, grid, 1)) / line_words + 1;
    part.lines = lines < 1 ? 1 : lines;
    part.image_words = SpanWords(args, grid, part.lines);
  }
  const int64_t images = most_words / part.image_words;
  part.images = images < 1 ? 1 : images < args.batch ? images : args.batch;
  return part;
}

// Enough for any part of this call and of those with fewer images or lines, and for what a last
// tile reads in vain.
int64_t PartBytes(const BconvArgs& args, const Grid& grid) {
  const int64_t all = args.batch * SpanWords(args, grid, args.out_h) * kWordBytes;
  const int64_t line = SpanWords(args, grid, 1) * kWordBytes;
  const int64_t most = line > kImageBytes ? line : kImageBytes;
  return (all < most ? all : most) + kTileRows * grid.position_words * kWordBytes;
}

// Bytes 0 and 1 of `words` words.
void ExpandActivations(const uint64_t* words, int64_t count, uint8_t* bytes) {
  const __m512i ones = _mm512_set1_epi8(1);
  for (int64_t i = 0; i < count; ++i) {
    _mm512_store_si512(bytes + i * kWordBytes, _mm512_maskz_mov_epi8(words[i], ones));
  }
}

// Weights that become bytes, tile by tile: masks[tiles][planes][16] into tiles[1024].
struct Expansion {
  const uint64_t* masks;
  int8_t* bytes;
  int64_t tiles;  // left
};

template <int kPlanes>
inline __attribute__((always_inline)) void ExpandTile(Expansion& expansion) {
  const __m512i ones = _mm512_set1_epi8(1);
  const __m512i minus_ones = _mm512_set1_epi8(-1);
  const uint64_t* const signs = expansion.masks + (kPlanes - 1) * kTileRows;
  for (int64_t row = 0; row < kTileRows; ++row) {
    const __m512i sign = _mm512_mask_blend_epi8(signs[row], ones, minus_ones);
    const __m512i value = kPlanes == 2 ? _mm512_maskz_mov_epi8(expansion.masks[row], sign) : sign;
    _mm512_store_si512(expansion.bytes + row * kTileRowBytes, value);
  }
  expansion.masks += kPlanes * kTileRows;
  expansion.bytes += kTileBytes;
  --expansion.tiles;
}

// Bits 4r .. 4r + 3 of the words of 16 channels, 4 bits a channel.
void GatherMasks(const uint64_t* first, const uint64_t* second, uint64_t* masks) {
  for (int64_t row = 0; row < kTileRows; ++row) {
    uint64_t mask = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      mask |= (first[lane] >> (4 * row) & 15) << (4 * lane);
      if (second != nullptr) mask |= (second[lane] >> (4 * row) & 15) << (4 * (lane + kLanes));
    }
    masks[row] = mask;
  }
}

// Counts of -1 and masks of one tile of channels: masks[word][plane][16].
void PrepareTile(const BconvArgs& args, int64_t tile, int32_t* negatives, uint64_t* masks) {
  const int64_t words = Words(args), planes = args.planes;
  const int64_t block_words = words * planes * kLanes;
  const uint64_t* const first = args.weights + tile * 2 * block_words;
  const bool alone = tile * 2 + 1 == RoundUp(args.out_channels, kLanes) / kLanes;
  memset(negatives, 0, kTileRows * sizeof(int32_t));
  for (int64_t word = 0; word < words; ++word) {
    for (int64_t plane = 0; plane < planes; ++plane) {
      const uint64_t* const vector = first + (word * planes + plane) * kLanes;
      GatherMasks(vector, alone ? nullptr : vector + block_words, masks);
      masks += kTileRows;
    }
    for (int64_t lane = 0; lane < kTileRows; ++lane) {
      if (alone && lane >= kLanes) break;
      const uint64_t* const bits =
          first + lane / kLanes * block_words + word * planes * kLanes + lane % kLanes;
      const uint64_t minus = planes == 2 ? bits[0] & bits[kLanes] : bits[0];
      negatives[lane] += static_cast<int32_t>(_mm_popcnt_u64(minus));
    }
  }
}

struct Tile {
  const uint8_t* bytes;  // of the first position's window
  int64_t image, line, column;
};

// 1 or 2 tiles of positions times 1 or 2 of channels: counts[position tile][channel tile][16][16].
struct Block {
  const uint8_t* positions[2];
  const int8_t* weights[2];
  const int32_t* negatives[2];
};

// Outputs of the block before, to be stored.
struct Pending {
  const BconvArgs& args;
  BconvSpan spans[2 * kTileRows];
  int64_t next, count;

  void StoreOne() { StoreBconvSpanAvx512(args, spans[next++]); }
  void StoreAll() {
    while (next < count) StoreOne();
  }
};

// Beside each step of 4 products at most one tile of the next channels' weights is expanded and one
// span of the outputs of the block before is stored: that takes the vector ports, which products
// leave free.
template <int kPlanes, int kPositions, int kChannels>
void Multiply(const BconvArgs& args, int64_t position_bytes, const Block& block, int32_t* counts,
              Expansion& next, Pending& pending) {
  _tile_loadd(0, block.negatives[0], 0);
  if constexpr (kChannels == 2) _tile_loadd(1, block.negatives[1], 0);
  if constexpr (kPositions == 2) _tile_loadd(2, block.negatives[0], 0);
  if constexpr (kPositions == 2 && kChannels == 2) _tile_loadd(3, block.negatives[1], 0);
  int64_t tile = 0;
  for (int32_t t = 0; t < args.taps; ++t) {
    const int64_t first = args.tap_words[t] * kWordBytes;
    const int64_t end = first + args.c_words * kWordBytes;
    for (int64_t at = first; at < end; at += kWordBytes, tile += kTileBytes) {
      _tile_loadd(6, block.weights[0] + tile, kTileRowBytes);
      _tile_loadd(4, block.positions[0] + at, position_bytes);
      _tile_dpbusd(0, 4, 6);
      if constexpr (kChannels == 2) {
        _tile_loadd(7, block.weights[1] + tile, kTileRowBytes);
        _tile_dpbusd(1, 4, 7);
      }
      if constexpr (kPositions == 2) {
        _tile_loadd(5, block.positions[1] + at, position_bytes);
        _tile_dpbusd(2, 5, 6);
        if constexpr (kChannels == 2) _tile_dpbusd(3, 5, 7);
      }
      if (next.tiles > 0) ExpandTile<kPlanes>(next);
      if (pending.next < pending.count) pending.StoreOne();
    }
  }
  constexpr int64_t kCounts = kTileRows * kTileRows;
  _tile_stored(0, counts, kTileRowBytes);
  if constexpr (kChannels == 2) _tile_stored(1, counts + kCounts, kTileRowBytes);
  if constexpr (kPositions == 2) _tile_stored(2, counts + 2 * kCounts, kTileRowBytes);
  if constexpr (kPositions == 2 && kChannels == 2) {
    _tile_stored(3, counts + 3 * kCounts, kTileRowBytes);
  }
}

using MultiplyFn = void (*)(const BconvArgs& args, int64_t position_bytes, const Block& block,
                            int32_t* counts, Expansion& next, Pending& pending);
template <int kPlanes>
constexpr MultiplyFn kMultiply[2][2] = {{Multiply<kPlanes, 1, 1>, Multiply<kPlanes, 1, 2>},
                                        {Multiply<kPlanes, 2, 1>, Multiply<kPlanes, 2, 2>}};

// Tiles of positions of some lines of some images, one after the other.
struct Tiles {
  const BconvArgs& args;
  const Grid& grid;
  bool runs_on;
  const uint8_t* bytes;
  int64_t image_bytes;
  int64_t first_image, images, first_line, lines;
  Tile next;

  // Positions of a line that tiles are made of.
  int64_t width() const { return runs_on ? grid.line_positions : args.out_w; }

  void Begin() { next = {bytes, 0, 0, 0}; }
  // False past the last tile.
  bool Take(Tile* tile) {
    if (next.image == images) return false;
    *tile = next;
    next.column += kTileRows;
    while (next.column >= width()) {
      next.column = runs_on ? next.column - width() : 0;
      ++next.line;
    }
    if (next.line >= lines || (next.line == lines - 1 && next.column >= args.out_w)) {
      next = {nullptr, next.image + 1, 0, 0};
    }
    const int64_t word =
        next.line * args.stride_h * args.row_words + next.column * grid.position_words;
    next.bytes = bytes + next.image * image_bytes + word * kWordBytes;
    return true;
  }

  // The pixels among the 16 positions of a tile, 1 or 2 tiles of channels from `channel` on.
  void List(const Tile& tile, int64_t channel, const int32_t* counts, int64_t second,
            Pending* pending) const {
    int64_t line = tile.line, column = tile.column;
    for (int64_t p = 0; p < kTileRows && line < lines; ++line) {
      const int64_t here = kTileRows - p < width() - column ? kTileRows - p : width() - column;
      const int64_t pixels = args.out_w - column < here ? args.out_w - column : here;
      if (pixels > 0) {
        const int64_t image = first_image + tile.image, row = first_line + line;
        const int64_t out = image * args.out_image + row * args.out_row + column * args.out_pixel;
        pending->spans[pending->count++] = {
            image, row, column, pixels, out, channel, counts + p * kTileRows, second};
      }
      if (!runs_on) return;
      p += here;
      column = 0;
    }
  }
};

struct Prepared {
  const int32_t* negatives;  // [tiles][16]
  const uint64_t* masks;     // [tiles][words][planes][16]
};

// `strips` holds two strips of weights as bytes: while one is multiplied, the other is made.
template <int kPlanes>
void RunTiles(const BconvArgs& args, const Prepared& prepared, Tiles tiles,
              int8_t* const strips[2]) {
  // Of two blocks, and 15 rows, which a span may read in vain.
  constexpr int64_t kBlock = 4 * kTileRows * kTileRows;
  alignas(64) int32_t both[2 * kBlock + kTileRows * kTileRows] = {};
  int32_t* counts = both;
  Pending pending = {args, {}, 0, 0};
  const int64_t words = Words(args), channel_tiles = ChannelTiles(args);
  const int64_t position_bytes = tiles.grid.position_words * kWordBytes;
  const auto expansion = [&](int64_t c) {
    const int64_t left = channel_tiles - c;
    const int64_t wide = left < 0 ? 0 : left < 2 ? left : 2;
    return Expansion{prepared.masks + c * MaskWords(args), strips[c / 2 % 2], wide * words};
  };
  Expansion next = expansion(0);
  for (int64_t c = 0; c < channel_tiles; c += 2) {
    while (next.tiles > 0) ExpandTile<kPlanes>(next);
    next = expansion(c + 2);
    const int64_t wide = channel_tiles - c >= 2 ? 2 : 1;
    const int64_t second = wide == 2 ? kTileRows * kTileRows : 0;
    const int8_t* const weights = strips[c / 2 % 2];
    tiles.Begin();
    for (Tile pair[2]; tiles.Take(&pair[0]);) {
      const int64_t high = tiles.Take(&pair[1]) ? 2 : 1;
      if (high == 1) pair[1] = pair[0];
      const Block block = {
          {pair[0].bytes, pair[1].bytes},
          {weights, weights + words * kTileBytes},
          {prepared.negatives + c * kTileRows, prepared.negatives + (c + wide - 1) * kTileRows}};
      kMultiply<kPlanes>[high - 1][wide - 1](args, position_bytes, block, counts, next, pending);
      pending.StoreAll();
      pending.next = pending.count = 0;
      for (int64_t i = 0; i < high; ++i) {
        tiles.List(pair[i], c * kTileRows, counts + i * kBlock / 2, second, &pending);
      }
      counts = counts == both ? both + kBlock : both;
    }
  }
  pending.StoreAll();
}

}  // namespace

int64_t PreparedBconvBytesAmx(const BconvArgs& args) {
  if (HasFewPixels(args)) return 0;
  const int64_t tile_bytes = kTileRows * static_cast<int64_t>(sizeof(int32_t)) +
                             MaskWords(args) * static_cast<int64_t>(sizeof(uint64_t));
  return ChannelTiles(args) * tile_bytes;
}

void PrepareBconvAmx(const BconvArgs& args, void* prepared) {
  if (HasFewPixels(args)) return;
  auto* const negatives = static_cast<int32_t*>(prepared);
  const int64_t tiles = ChannelTiles(args);
  auto* const masks = reinterpret_cast<uint64_t*>(negatives + tiles * kTileRows);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    PrepareTile(args, tile, negatives + tile * kTileRows, masks + tile * MaskWords(args));
  }
}

int64_t BconvScratchBytesAmx(const BconvArgs& args) {
  if (HasFewPixels(args)) return 0;
  const BconvArgs flat = Flattened(args);
  return 2 * StripBytes(flat) + PartBytes(flat, GridOf(flat));
}

// Lines of one pixel become one line, which has other places for signs.
bool BconvFinishesAmx(const BconvArgs& args) {
  return args.prepared != nullptr && args.scratch != nullptr && !HasFewPixels(args) &&
         args.out_w > 1;
}

bool BconvStoresPlanesAmx(const BconvArgs& args) { return BconvFinishesAmx(args); }

void BconvAmx(const BconvArgs& given) {
  const BconvArgs args = Flattened(given);
  if (args.prepared == nullptr || args.scratch == nullptr || HasFewPixels(args)) {
    BconvAvx512Vpopcnt(given);
    return;
  }
  const Grid grid = GridOf(args);
  const Part part = PartOf(args, grid);
  auto* const first_strip = static_cast<int8_t*>(args.scratch);
  int8_t* const strips[2] = {first_strip, first_strip + StripBytes(args)};
  auto* const bytes = static_cast<uint8_t*>(args.scratch) + 2 * StripBytes(args);
  const auto* const negatives = static_cast<const int32_t*>(args.prepared);
  const Prepared prepared = {
      negatives, reinterpret_cast<const uint64_t*>(negatives + ChannelTiles(args) * kTileRows)};
  const bool runs_on = RunsOn(args, grid);
  const TileScope scope;
  for (int64_t image = 0; image < args.batch; image += part.images) {
    const int64_t images = args.batch - image < part.images ? args.batch - image : part.images;
    for (int64_t line = 0; line < args.out_h; line += part.lines) {
      const int64_t lines = args.out_h - line < part.lines ? args.out_h - line : part.lines;
      const int64_t words = SpanWords(args, grid, lines);
      for (int64_t i = 0; i < images; ++i) {
        const uint64_t* const source =
            args.input + (image + i) * args.image_words + line * args.stride_h * args.row_words;
        ExpandActivations(source, words, bytes + i * part.image_words * kWordBytes);
      }
      const Tiles tiles = {args,  grid,   runs_on, bytes, part.image_words * kWordBytes,
                           image, images, line,    lines, {}};
      args.planes == 2 ? RunTiles<2>(args, prepared, tiles, strips)
                       : RunTiles<1>(args, prepared, tiles, strips);
    }
  }
}

}  // namespace bitmill
