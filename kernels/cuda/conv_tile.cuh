// Low-bit convolutions on tensor cores, as implicit products of matrices; a dense layer is one over
// a single pixel. A group of 128 threads computes a tile: 128 or 32 pixels, of whichever rows of the
// batch, by 64 outputs.
//
// The window of a pixel is a line of 8-byte words, taps in order, the words of a pixel behind one
// another, whether these hold bits or codes. 8 words are a stage: 64 bytes of every pixel and every
// output, copied to shared memory while earlier stages are computed. Stages of pixels are gathered
// on the way, taps outside the image and words past the window as zeros; stages of weights lie in
// the constants as they are wanted, zeros past the window too.
//
// The order of bits along K does not matter as long as both sides agree. So a lane takes 16 bytes in
// a row, from which two products have their operands, and four lanes the 64 of a stage: one shared
// load for two products, without conflicts between banks, and without ldmatrix.
//
// What is summed, x being the pixel's bits (set: -1) and w the weights:
//   1-bit    w = 1 - 2n           sum(w x) = sum(w) - 2 count(x) + 4 count(x and n)
//   ternary  w = p - n            sum(w x) = sum(w) + 2 count(x) - 2 (count(x and p) + count(x and not n))
//   spread   any w, x as bytes    sum(w x) = sum(w) - 2 sum(w b), b = 0 or 1
//   codes    any w, bytes q       sum(w (q - z)) = sum(w q) - z sum(w)
// Channels in groups: a tile's outputs are all of one group, and of a pixel its words alone are read.
//
// sum(w) and z sum(w) are constants of an output (kTotals), count(x) one of a pixel. A tap outside
// was a zero: kEdgeSums holds what that makes wrong.
#pragma once

enum TileMode { kOneBitTile, kTernaryTile, kSpreadTile, kCodeTile };

template <TileMode mode_, int warps_m_>
struct TileShape {
  static constexpr TileMode mode = mode_;
  static constexpr int warps_m = warps_m_;      // warps side by side along pixels
  static constexpr int warps_n = 4 / warps_m_;  // and along outputs
  static constexpr int threads = 128;
  static constexpr int pixels = 32 * warps_m;
  static constexpr int outputs = 64;
  static constexpr int tiles_m = 2;            // a warp: 2 x 16 pixels
  static constexpr int tiles_n = 8 / warps_n;  // by tiles_n x 8 outputs
  static constexpr int planes = mode == kTernaryTile ? 2 : 1;
  static constexpr int stage_bytes = 64;  // of a pixel or output
  static constexpr int stages = planes == 2 && warps_m == 4 ? 3 : 4;
  static constexpr int pixel_stage = pixels * stage_bytes;
  static constexpr int stage = pixel_stage + planes * outputs * stage_bytes;
  static constexpr int row_ints = outputs + 4;  // of accumulators in shared memory
  static constexpr int shared_bytes = stages * stage > pixels * row_ints * 4
                                          ? stages * stage
                                          : pixels * row_ints * 4;
  static constexpr bool bits = mode == kOneBitTile || mode == kTernaryTile;
  static constexpr int m_pixels = 16;  // between the pixels of a warp's two products

  BITMILL_FUNCTION static int WarpPixel(const int warp) { return warp / warps_n * 32; }
  // Where the 16 bytes that a thread copies of a stage lie: pixel or output thread / 4, quarter
  // thread % 4. Of later pixels and outputs 32 further lines each.
  BITMILL_FUNCTION static int CopyPlace(const int thread) { return thread * 16; }
};

// Of 16 pixels' worth of a warp: pixel q of its four, 8 lanes' lines apart.
template <typename Shape>
BITMILL_FUNCTION int bm_fragment_pixel(const int q) {
  return q / 2 * Shape::m_pixels + q % 2 * 8;
}

// Where the window of a pixel begins. `y` is far outside for pixels past the last.
struct TilePixel {
  long row;
  int pixel, y, x;
};

BITMILL_FUNCTION TilePixel bm_tile_pixel(const int* p, const long first_row, const int first_pixel,
                                         const int offset, const int rows) {
  const int out_pixels = p[kOutHeight] * p[kOutWidth];
  const int at = first_pixel + offset;
  TilePixel result;
  result.row = first_row + at / out_pixels;
  result.pixel = at % out_pixels;
  result.y = result.pixel / p[kOutWidth] * p[kStrideH] - p[kPadTop];
  result.x = result.pixel % p[kOutWidth] * p[kStrideW] - p[kPadLeft];
  if (result.row >= rows) result.y = -(1 << 30);
  return result;
}

// 16 bits as 16 bytes of 0 or 1.
BITMILL_FUNCTION Quad bm_spread(const uint bits) {
  const uint one = 0x00204081u, low = 0x01010101u;  // bit k of a nibble to byte k
  Quad quad;
  quad.x = ((bits & 15u) * one) & low;
  quad.y = ((bits >> 4 & 15u) * one) & low;
  quad.z = ((bits >> 8 & 15u) * one) & low;
  quad.w = ((bits >> 12 & 15u) * one) & low;
  return quad;
}

// Brings stages into shared memory. A thread has column `column` of every 32nd pixel: 16 bytes of
// each stage, and walks along the window as stages follow one another.
template <typename Shape>
struct TileLoader {
  static constexpr int kRows = Shape::pixels / 32;
  const int* p;
  const uchar* window[kRows];  // the image of the pixel's row
  int y[kRows], x[kRows];
  int word, i, j;  // of the window's next stage: word of the tap (i, j)
  uint bits[kRows];  // spread: of the next stage
  const uchar* weights;

  BITMILL_FUNCTION void Start(const int* params, const uchar* arena, const uchar* constants,
                              const long first_row, const int first_pixel, const int rows) {
    p = params;
    const int column = bm_thread() % 4;
    const int group = bm_tile_y() * Shape::outputs / p[kGroupOutputs];
    for (int r = 0; r < kRows; ++r) {
      const TilePixel at =
          bm_tile_pixel(p, first_row, first_pixel, bm_thread() / 4 + 32 * r, rows);
      const long row = at.row < rows ? at.row : 0;
      window[r] = arena + (static_cast<long>(p[kIn]) + row * p[kInRow]) * kPlaceBytes +
                  static_cast<long>(group) * p[kSpan] * 8;
      y[r] = at.y;
      x[r] = at.x;
    }
    word = i = j = 0;
    if (Shape::mode == kSpreadTile) {
      Read(column);
    } else {
      Advance(2 * column);
    }
    weights = constants + static_cast<long>(p[kWeights]) * kPlaceBytes +
              static_cast<long>(bm_tile_y()) * p[kStages] * Shape::planes * Shape::outputs *
                  Shape::stage_bytes;
  }

  BITMILL_FUNCTION void Advance(const int words) {
    word += words;
    while (word >= p[kSpan]) {
      word -= p[kSpan];
      if (++j == p[kKernelW]) {
        j = 0;
        ++i;
      }
    }
  }

  BITMILL_FUNCTION bool Inside(const int r, const int tap_i, const int tap_j) const {
    const uint at_y = static_cast<uint>(y[r] + tap_i * p[kDilationH]);
    const uint at_x = static_cast<uint>(x[r] + tap_j * p[kDilationW]);
    return tap_i < p[kKernelH] && at_y < static_cast<uint>(p[kInHeight]) &&
           at_x < static_cast<uint>(p[kInWidth]);
  }

  BITMILL_FUNCTION const uchar* Word(const int r, const int tap_i, const int tap_j,
                                     const int tap_word, const bool inside) const {
    const long pixel = static_cast<long>(y[r] + tap_i * p[kDilationH]) * p[kInWidth] + x[r] +
                       tap_j * p[kDilationW];
    return inside ? window[r] + (pixel * p[kPixelWords] + tap_word) * 8 : window[r];
  }

  // Spread: the thread's 16 bits of the word that is next.
  BITMILL_FUNCTION void Read(const int column) {
    for (int r = 0; r < kRows; ++r) {
      const bool inside = Inside(r, i, j);
      const uchar* const from = Word(r, i, j, word, inside) + 2 * column;
      bits[r] = inside ? *reinterpret_cast<const ushort*>(from) : 0;
    }
    Advance(1);
  }

  // Stage `number` of all, to `slot`.
  BITMILL_FUNCTION void Fetch(const int number, uchar* slot) {
    const int column = bm_thread() % 4;
    uchar* const to = slot + Shape::CopyPlace(bm_thread());
    if (Shape::mode == kSpreadTile) {
      for (int r = 0; r < kRows; ++r) bm_store_quad(to + r * 32 * Shape::stage_bytes, bm_spread(bits[r]));
      Read(column);
    } else if (p[kSpan] % 2 == 0) {
      for (int r = 0; r < kRows; ++r) {
        const bool inside = Inside(r, i, j);
        bm_copy16(to + r * 32 * Shape::stage_bytes, Word(r, i, j, word, inside), inside);
      }
      Advance(8);
    } else {
      for (int half = 0; half < 2; ++half) {
        for (int r = 0; r < kRows; ++r) {
          const bool inside = Inside(r, i, j);
          bm_copy8(to + r * 32 * Shape::stage_bytes + 8 * half, Word(r, i, j, word, inside), inside);
        }
        Advance(half == 0 ? 1 : 7);
      }
    }
    constexpr int kWeights16 = Shape::planes * Shape::outputs * Shape::stage_bytes / 16;
    const uchar* const from =
        weights + (static_cast<long>(number) * kWeights16 + bm_thread()) * 16;
    for (int n = 0; n < kWeights16; n += Shape::threads) {
      bm_copy16(to + Shape::pixel_stage + n * 16, from + n * 16, true);
    }
  }
};

// The number of set bits in a row of words, with a count for every fourth of them: the others are
// added bit by bit into planes (Harley and Seal). Of an addition are two instructions that all
// chips do four times as fast as a count.
struct BitCount {
  uint ones, twos;
  int fours;

  BITMILL_FUNCTION void Clear() {
    ones = twos = 0;
    fours = 0;
  }
  // plane += b + c, bit by bit; returns what is worth twice as much.
  BITMILL_FUNCTION static uint Plus(uint& plane, const uint b, const uint c) {
    const uint carry = (b & c) | (plane & (b | c));
    plane = plane ^ b ^ c;
    return carry;
  }
  BITMILL_FUNCTION void Add(const Quad& q) {
    const uint low = Plus(ones, q.x, q.y);
    const uint high = Plus(ones, q.z, q.w);
    fours += bm_count(Plus(twos, low, high));
  }
  BITMILL_FUNCTION int Total() const { return 4 * fours + 2 * bm_count(twos) + bm_count(ones); }
};

// The accumulators of a warp: [16 pixels][8 outputs] each, as the products leave them; and the
// counts of its pixels' bits.
template <typename Shape>
struct TileSums {
  int acc[Shape::tiles_m][Shape::tiles_n][4];
  BitCount count[Shape::tiles_m][2];

  BITMILL_FUNCTION void Clear() {
    BITMILL_UNROLL
    for (int m = 0; m < Shape::tiles_m; ++m) {
      count[m][0].Clear();
      count[m][1].Clear();
      BITMILL_UNROLL
      for (int n = 0; n < Shape::tiles_n; ++n) {
        BITMILL_UNROLL
        for (int k = 0; k < 4; ++k) acc[m][n][k] = 0;
      }
    }
  }

  BITMILL_FUNCTION static void Product(int (&c)[4], const uint a0, const uint a1, const uint a2,
                                       const uint a3, const uint b0, const uint b1) {
    if (Shape::bits) {
      bm_mma_bits(c, a0, a1, a2, a3, b0, b1);
    } else {
      bm_mma_bytes(c, a0, a1, a2, a3, b0, b1);
    }
  }

  BITMILL_FUNCTION void Add(const uchar* slot) {
    const int lane = bm_thread() % 32, warp = bm_thread() / 32;
    const int at = lane / 4 * Shape::stage_bytes + lane % 4 * 16;
    const uchar* const pixels = slot + warp / Shape::warps_n * 32 * Shape::stage_bytes + at;
    const uchar* const weights = slot + Shape::pixel_stage +
                                 warp % Shape::warps_n * Shape::tiles_n * 8 * Shape::stage_bytes + at;
    Quad low[Shape::tiles_m], high[Shape::tiles_m];
    BITMILL_UNROLL
    for (int m = 0; m < Shape::tiles_m; ++m) {
      low[m] = bm_load_quad(pixels + m * 16 * Shape::stage_bytes);
      high[m] = bm_load_quad(pixels + (m * 16 + 8) * Shape::stage_bytes);
      if (Shape::bits) {
        count[m][0].Add(low[m]);
        count[m][1].Add(high[m]);
      }
    }
    BITMILL_UNROLL
    for (int plane = 0; plane < Shape::planes; ++plane) {
      BITMILL_UNROLL
      for (int n = 0; n < Shape::tiles_n; ++n) {
        const Quad b = bm_load_quad(weights + (plane * Shape::outputs + n * 8) * Shape::stage_bytes);
        BITMILL_UNROLL
        for (int m = 0; m < Shape::tiles_m; ++m) {
          Product(acc[m][n], low[m].x, high[m].x, low[m].y, high[m].y, b.x, b.y);
          Product(acc[m][n], low[m].z, high[m].z, low[m].w, high[m].w, b.z, b.w);
        }
      }
    }
  }

  // From sums of products to what the header of this file says, without kTotals.
  BITMILL_FUNCTION void Settle() {
    BITMILL_UNROLL
    for (int m = 0; m < Shape::tiles_m; ++m) {
      BITMILL_UNROLL
      for (int h = 0; h < 2; ++h) {
        uint bits = 0;
        if (Shape::bits) {
          bits = static_cast<uint>(count[m][h].Total());
          bits += bm_shuffle_xor(bits, 1);
          bits += bm_shuffle_xor(bits, 2);
        }
        BITMILL_UNROLL
        for (int n = 0; n < Shape::tiles_n; ++n) {
          BITMILL_UNROLL
          for (int e = 0; e < 2; ++e) {
            int& sum = acc[m][n][2 * h + e];
            if (Shape::mode == kOneBitTile) sum = 4 * sum - 2 * static_cast<int>(bits);
            if (Shape::mode == kTernaryTile) sum = 2 * static_cast<int>(bits) - 2 * sum;
            if (Shape::mode == kSpreadTile) sum = -2 * sum;
          }
        }
      }
    }
  }

  // Adds kEdgeSums for the taps outside of pixel h of 16 m.
  BITMILL_FUNCTION void AddEdges(const int* p, const uchar* constants, const TilePixel& at,
                                 const int m, const int h, const int first) {
    const int last_y = at.y + (p[kKernelH] - 1) * p[kDilationH];
    const int last_x = at.x + (p[kKernelW] - 1) * p[kDilationW];
    if (at.y >= 0 && at.x >= 0 && last_y < p[kInHeight] && last_x < p[kInWidth]) return;
    const int* edges = BITMILL_CONSTANT(int, p[kEdgeSums]) + first;
    for (int i = 0; i < p[kKernelH]; ++i) {
      const int y = at.y + i * p[kDilationH];
      for (int j = 0; j < p[kKernelW]; ++j, edges += p[kBlocks] * kBlock) {
        const int x = at.x + j * p[kDilationW];
        if (y >= 0 && y < p[kInHeight] && x >= 0 && x < p[kInWidth]) continue;
        BITMILL_UNROLL
        for (int n = 0; n < Shape::tiles_n; ++n) {
          acc[m][n][2 * h] += edges[n * 8];
          acc[m][n][2 * h + 1] += edges[n * 8 + 1];
        }
      }
    }
  }
};

// One threshold a channel, to bits: a sum below kLimits is a set bit, or an unset one where
// kLimitFlip has one. Four lanes have the outputs of a pixel, two of each eight. `first` is the
// output of the warp's first accumulator; 64 outputs, or all that there are, give a word.
template <typename Shape>
BITMILL_FUNCTION void bm_store_bits(const int* p, uchar* arena, const uchar* constants,
                                    const TileSums<Shape>& sums, const TilePixel& at,
                                    const int rows, const int first) {
  constexpr int kWord = Shape::tiles_n < 8 ? Shape::tiles_n : 8;  // accumulators of a word
  const int lane = bm_thread() % 32;
  const long row = at.row;
  uchar* const to =
      BITMILL_OUTPUT(uchar) + static_cast<long>(at.pixel) * p[kOutPixelBytes] + first / 8;
  const uchar* const flip = BITMILL_CONSTANT(uchar, p[kLimitFlip]) + first / 8;
  BITMILL_UNROLL
  for (int block = 0; block < Shape::tiles_n / kWord; ++block) {
    if (first / 8 + block * 8 >= p[kOutPixelBytes]) return;  // past the last word, for all threads
    const int* const limits = BITMILL_CONSTANT(int, p[kLimits]) + first + block * 64 + lane % 4 * 2;
    uint words[4][2];  // of pixel m * 2 + h: outputs 0 to 31, 32 to 63
    BITMILL_UNROLL
    for (int q = 0; q < 4; ++q) words[q][0] = words[q][1] = 0;
    BITMILL_UNROLL
    for (int n = 0; n < kWord; ++n) {
      BITMILL_UNROLL
      for (int e = 0; e < 2; ++e) {
        const int limit = limits[n * 8 + e];
        BITMILL_UNROLL
        for (int q = 0; q < 4; ++q) {
          const int sum = sums.acc[q / 2][block * kWord + n][q % 2 * 2 + e];
          words[q][n / 4] |= (sum < limit ? 1u : 0u) << (n % 4 * 8 + e);
        }
      }
    }
    uint mine[2] = {0, 0};  // of pixel lane % 4
    BITMILL_UNROLL
    for (int q = 0; q < 4; ++q) {
      BITMILL_UNROLL
      for (int half = 0; half < 2; ++half) {
        uint word = words[q][half] << (lane % 4 * 2);
        word |= bm_shuffle_xor(word, 1);
        word |= bm_shuffle_xor(word, 2);
        if (lane % 4 == q) mine[half] = word;
      }
    }
    if (at.row >= rows) continue;
    if (kWord == 8) {
      const uint* const flips = reinterpret_cast<const uint*>(flip + block * 8);
      uint* const out = reinterpret_cast<uint*>(to + block * 8);
      out[0] = mine[0] ^ flips[0];
      out[1] = mine[1] ^ flips[1];
    } else {
      *reinterpret_cast<ushort*>(to) =
          static_cast<ushort>(mine[0] ^ *reinterpret_cast<const ushort*>(flip));
    }
  }
}

// Anything else: through shared memory to the epilogues of all kernels, 8 outputs of a pixel each.
template <typename Shape>
BITMILL_FUNCTION void bm_store_finished(const int* p, uchar* arena, const uchar* constants,
                                        const TileSums<Shape>& sums, const long first_row,
                                        const int first_pixel, const int rows) {
  const int lane = bm_thread() % 32, warp = bm_thread() / 32;
  int* const shared = reinterpret_cast<int*>(bm_shared());
  const int outputs_at = warp % Shape::warps_n * Shape::tiles_n * 8 + lane % 4 * 2;
  int* const mine = shared + (Shape::WarpPixel(warp) + lane / 4) * Shape::row_ints + outputs_at;
  const int* const totals =
      BITMILL_CONSTANT(int, p[kTotals]) + bm_tile_y() * Shape::outputs + outputs_at;
  bm_sync();  // the last stage is read
  BITMILL_UNROLL
  for (int n = 0; n < Shape::tiles_n; ++n) {
    BITMILL_UNROLL
    for (int q = 0; q < 4; ++q) {
      int* const to = mine + bm_fragment_pixel<Shape>(q) * Shape::row_ints + n * 8;
      to[0] = sums.acc[q / 2][n][q % 2 * 2] + totals[n * 8];
      to[1] = sums.acc[q / 2][n][q % 2 * 2 + 1] + totals[n * 8 + 1];
    }
  }
  bm_sync();
  constexpr int kOctets = Shape::outputs / kOctet;
  for (int item = bm_thread(); item < Shape::pixels * kOctets; item += Shape::threads) {
    const TilePixel at = bm_tile_pixel(p, first_row, first_pixel, item % Shape::pixels, rows);
    const int octet = bm_tile_y() * kOctets + item / Shape::pixels;
    if (at.row >= rows || octet >= p[kOutOctets]) continue;
    const long row = at.row;
    const int* const from =
        shared + item % Shape::pixels * Shape::row_ints + item / Shape::pixels * kOctet;
    uchar* const out = BITMILL_OUTPUT(uchar);
    ulong codes = 0;
    BITMILL_NO_UNROLL
    for (int k = 0; k < kOctet; ++k) {
      const int o = octet * kOctet + k;
      if (o >= p[kOutChannels]) break;
      const ulong code = bm_finish_one(p, constants, out, at.pixel, o, from[k]);
      codes |= code << (p[kOutBits] != 0 ? k : 8 * k);
    }
    uchar* const to = out + static_cast<long>(at.pixel) * p[kOutPixelBytes];
    if (p[kEpilogue] == kToFloat) continue;
    if (p[kOutBits] != 0) {
      to[octet] = static_cast<uchar>(codes);
    } else {
      reinterpret_cast<ulong*>(to)[octet] = codes;
    }
  }
}

// From settled sums to the step's output.
template <typename Shape>
BITMILL_FUNCTION void bm_store_tile(const int* p, uchar* arena, const uchar* constants,
                                    TileSums<Shape>& sums, const long first_row,
                                    const int first_pixel, const int rows) {
  const int lane = bm_thread() % 32, warp = bm_thread() / 32;
  const int output = bm_tile_y() * Shape::outputs + warp % Shape::warps_n * Shape::tiles_n * 8;
  const int offset = Shape::WarpPixel(warp) + lane / 4;
  if (p[kEdgeSums] != 0) {
    BITMILL_UNROLL
    for (int q = 0; q < 4; ++q) {
      const TilePixel at =
          bm_tile_pixel(p, first_row, first_pixel, offset + bm_fragment_pixel<Shape>(q), rows);
      if (at.row < rows) sums.AddEdges(p, constants, at, q / 2, q % 2, output + lane % 4 * 2);
    }
  }
  if (p[kLimits] != 0) {
    const TilePixel at = bm_tile_pixel(p, first_row, first_pixel,
                                       offset + bm_fragment_pixel<Shape>(lane % 4), rows);
    bm_store_bits<Shape>(p, arena, constants, sums, at, rows, output);
  } else {
    bm_store_finished<Shape>(p, arena, constants, sums, first_row, first_pixel, rows);
  }
}

template <typename Shape>
BITMILL_FUNCTION void bm_conv_tile(uchar* arena, const uchar* constants, const int* all_params,
                                   const int step, const int rows) {
  const int* const p = all_params + static_cast<long>(step) * kStepParams;
  const int out_pixels = p[kOutHeight] * p[kOutWidth];
  const long first = static_cast<long>(bm_tile_x()) * Shape::pixels;
  const long first_row = first / out_pixels;
  const int first_pixel = static_cast<int>(first - first_row * out_pixels);
  const int stages = p[kStages];

  TileLoader<Shape> loader;
  loader.Start(p, arena, constants, first_row, first_pixel, rows);
  TileSums<Shape> sums;
  sums.Clear();
  for (int s = 0; s < Shape::stages - 1; ++s) {
    if (s < stages) loader.Fetch(s, bm_shared() + s * Shape::stage);
    bm_copy_commit();
  }
  int slot = 0, next = Shape::stages - 1;
  for (int s = 0; s < stages; ++s) {
    bm_copy_wait<Shape::stages - 2>();
    bm_sync();  // stage s is here, and nobody reads the slot of stage s - 1 any more
    if (s + Shape::stages - 1 < stages) {
      loader.Fetch(s + Shape::stages - 1, bm_shared() + next * Shape::stage);
    }
    bm_copy_commit();
    sums.Add(bm_shared() + slot * Shape::stage);
    slot = slot + 1 == Shape::stages ? 0 : slot + 1;
    next = next + 1 == Shape::stages ? 0 : next + 1;
  }
  bm_products_done();
  sums.Settle();
  bm_store_tile<Shape>(p, arena, constants, sums, first_row, first_pixel, rows);
}
