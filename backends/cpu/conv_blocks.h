// A convolution whose accumulators need an epilogue works in blocks of output pixels: the kernel
// writes a block to scratch that fits a cache, the epilogue takes it from there. The first-level
// cache, unless the kernel makes something of its weights in each call: then that costs more than
// reading the block from the second level.
//
// A block is some rows of the chunk for a single-pixel output (a dense layer), and some lines of
// one image otherwise.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/cpu/conv_epilogue.h"
#include "backends/cpu/conv_window.h"
#include "backends/cpu/step.h"
#include "kernels/cache_sizes.h"

namespace bitmill {

// Of an accumulator that passes through scratch: written and read.
inline constexpr int64_t kSumBytes = 2 * int64_t{sizeof(int32_t)};

// Bytes of a block, LayerChoice::block_shift applied.
inline int64_t Shifted(int64_t bytes, int32_t shift) {
  return shift < 0 ? bytes >> -shift : bytes << shift;
}

struct ConvBlock {
  int64_t row = 0;    // of the chunk, the first one
  int64_t line = 0;   // first output line
  int64_t count = 0;  // rows (single pixel) or lines
};

struct ConvBlocks {
  bool single_pixel = false;
  int64_t count = 1;          // rows or lines of a full block
  int64_t scratch_bytes = 0;  // of a full block

  // `costly_calls`: the kernel makes something of its weights in each call, which many pixels
  // should share. `shift`: LayerChoice::block_shift.
  static ConvBlocks For(const ConvWindow& window, bool costly_calls, int32_t shift) {
    constexpr int64_t kSmallBytes = 24 * 1024;
    const int64_t usual_bytes = costly_calls ? MachineCaches().l2 / 4 : kSmallBytes;
    constexpr int64_t kMinDenseRows = 8, kMaxDenseRows = 64;  // kernels tile several pixels
    ConvBlocks blocks;
    blocks.single_pixel = window.single_pixel();
    const int64_t unit_bytes = window.out_w * window.out_channels * int64_t{sizeof(float)};
    const int64_t fitting = Shifted(usual_bytes, shift) / unit_bytes;
    blocks.count = blocks.single_pixel ? std::clamp(fitting, kMinDenseRows, kMaxDenseRows)
                                       : std::clamp<int64_t>(fitting, 1, window.out_h);
    blocks.scratch_bytes = blocks.count * unit_bytes;
    return blocks;
  }
};

struct LineRange {
  int64_t first = 0, count = 0;
};

// Calls compute(block), which fills `scratch`, and hands each block to the epilogue. `lines` of
// each row's output; a single-pixel output has one.
template <typename Compute>
void RunConvBlocks(const ConvBlocks& blocks, const ConvEpilogue& epilogue, const Operand& output,
                   const StepRun& run, const LineRange& lines, void* scratch, Compute compute) {
  const BufferLayout& layout = output.layout;
  std::byte* const base = output.Base(run);
  if (blocks.single_pixel) {
    for (int64_t r = 0; r < run.rows; r += blocks.count) {
      const ConvBlock block{r, 0, std::min(blocks.count, run.rows - r)};
      compute(block);
      epilogue.Apply(scratch, block.count, base + r * layout.image_bytes + layout.interior_bytes,
                     layout.image_bytes);
    }
    return;
  }
  // Planes take pixels as they come; so do bits and codes without a border.
  const bool one_line = layout.border.empty();
  for (int64_t r = 0; r < run.rows; ++r) {
    std::byte* const image = base + r * layout.image_bytes + layout.interior_bytes;
    const int64_t end = lines.first + lines.count;
    for (int64_t y = lines.first; y < end; y += blocks.count) {
      const ConvBlock block{r, y, std::min(blocks.count, end - y)};
      compute(block);
      std::byte* const dst = image + y * layout.row_bytes;
      if (one_line) {
        epilogue.Apply(scratch, block.count * layout.width, dst, layout.pixel_bytes);
        continue;
      }
      const int64_t line_bytes = layout.width * layout.channels * int64_t{sizeof(float)};
      for (int64_t i = 0; i < block.count; ++i) {
        epilogue.Apply(static_cast<std::byte*>(scratch) + i * line_bytes, layout.width,
                       dst + i * layout.row_bytes, layout.pixel_bytes);
      }
    }
  }
}

}  // namespace bitmill
