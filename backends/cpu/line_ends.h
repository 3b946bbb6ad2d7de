// The ends of a window's lines on tight codes.
//
// A kernel reads 4 bytes a step. A line of a window whose bytes are no multiple of 4 takes a step
// more, most of it zero weights: 7 lines of 7 pixels x 3 channels take 42 steps for 147 bytes.
// Where output pixels lie far enough apart, the 1 to 3 bytes behind the whole steps of all lines of
// a window are put side by side in a second plane behind the image, from line to line and pixel to
// pixel as far apart as the windows, so that they are further steps of the same window: 37.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cpu/buffer_layout.h"
#include "backends/cpu/conv_window.h"

namespace bitmill {

struct LineEnds {
  int64_t line_steps = 0;    // whole ones, of each line of a window
  int64_t end_bytes = 0;     // behind them, of each line
  int64_t end_steps = 0;     // of all ends of a window; 0: the ends are not put side by side
  int64_t steps_a_line = 0;  // of the plane, for a pixel

  // Of a window, also without ends.
  int64_t steps(const ConvWindow& window) const {
    const int64_t of_line = end_steps == 0 && end_bytes > 0 ? line_steps + 1 : line_steps;
    return window.kernel_h * of_line + end_steps;
  }
  // Where byte `byte` of line `line` of a window is among its bytes, in the order of the steps.
  int64_t Place(const ConvWindow& window, int64_t line, int64_t byte) const {
    return byte < line_steps * 4
               ? line * line_steps * 4 + byte
               : window.kernel_h * line_steps * 4 + line * end_bytes + byte - line_steps * 4;
  }
};

// Of a window over pixels of in_channels bytes; sizes of images do not matter. `step_unit`: steps
// that the kernel takes at a time; without fewer of these there are no ends.
LineEnds LineEndsOf(const ConvWindow& window, int64_t step_unit);

// Images of `input` with room for the plane behind each. ResourceExhausted beyond 2 GiB.
absl::StatusOr<BufferLayout> WithEndsPlane(const BufferLayout& input);

// Offsets of the steps from a window's start in such a buffer.
std::vector<int32_t> EndsStepOffsets(const LineEnds& ends, const ConvWindow& window,
                                     const BufferLayout& input);

// The plane's part of lines first .. first + count - 1 of the output. `windows`: the first window
// of an image that WithEndsPlane() made room in.
void FillLineEnds(const LineEnds& ends, const ConvWindow& window, const BufferLayout& input,
                  int64_t first, int64_t count, std::byte* windows);

}  // namespace bitmill
