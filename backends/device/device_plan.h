// A model as a list of device kernels: plain data that knows no device and no driver. It is what
// the OpenCL executable uploads and enqueues, and what tests run without a device.
//
// A value of the graph is a buffer of the arena: `rows` images one behind the other, each a whole
// number of places (64 bytes):
//
//   plain   row-major elements, as the logical shape says
//   bits    one bit a channel, channels innermost; a pixel is whole 64-bit words
//   codes   one byte a channel, channels innermost; a pixel is a multiple of 8 bytes
//
// Neither has a border: kernels skip taps outside the image. Bits and bytes past the last channel
// are zero. Constants lie in one block, parameters in another (kernels/opencl/step_params.inc).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/graph.h"

namespace bitmill {

namespace device {
#include "kernels/opencl/step_params.inc"
}  // namespace device

// A value as a host step sees it. `buffer` is -1 for a constant, or for an absent optional input
// or output, whose dtype is kInvalid.
struct HostOperand {
  int32_t buffer = -1;
  SharedTensor constant = nullptr;
  DType dtype = DType::kInvalid;
  Shape shape;
};

// An operator without a kernel: its inputs are read back and the reference computes it, row by row.
struct HostStep {
  Node node;
  int64_t opset = 0;
  std::vector<HostOperand> inputs, outputs;
};

// How a step of tiles is launched: a group of `threads` computes `pixels` of all rows' pixels, one
// behind the other, by `outputs` of them. No threads: a step of items, each a thread of its own.
struct DeviceTiles {
  int32_t pixels = 0, outputs = 0, threads = 0, shared_bytes = 0;
};

struct DeviceStep {
  std::string name, kernel;         // kernel: a function of kernels/opencl; "host" for a host step
  std::string input, output, bits;  // for people
  std::string tile;                 // likewise: how a convolution is cut, where that was chosen
  std::array<int32_t, device::kStepParams> params{};
  int32_t in = -1, in2 = -1, out = -1;                   // buffers
  int64_t macs = 0, output_bytes = 0, weight_bytes = 0;  // of a row; weights of an execution
  int32_t group_items = 0;                               // of a work group; 0: the device's choice
  DeviceTiles tiles;
  // Another kernel of tiles for launches of at most few_tiles.pixels pixels; empty: none.
  std::string few_kernel;
  DeviceTiles few_tiles;
  std::shared_ptr<const HostStep> host;  // or null

  int32_t& operator[](device::StepParam param) { return params[param]; }
  int32_t operator[](device::StepParam param) const { return params[param]; }
  // What a launch of so many rows runs.
  bool few(int64_t rows) const;
  const std::string& kernel_of(int64_t rows) const { return few(rows) ? few_kernel : kernel; }
  const DeviceTiles& tiles_of(int64_t rows) const { return few(rows) ? few_tiles : tiles; }
  // Of a step of tiles: groups along pixels and along outputs.
  std::array<int64_t, 2> groups_of(int64_t rows) const;
};

struct DeviceBuffer {
  int64_t row_bytes = 0;                // as the value has it
  int64_t stride = 0;                   // from a row to the next, whole places
  int64_t offset = 0;                   // of row 0 in the arena
  int32_t first_use = 0, last_use = 0;  // steps
};

// A float input of which only one comparison a channel is wanted: the host makes bits of it before
// it is copied, as kernels/pack/pack.h says; the input's buffer holds these.
struct InputBits {
  int64_t channels = 0, pixels = 0;
  int64_t pixel_bytes = 0;        // whole words
  std::vector<float> thresholds;  // one, or one a channel
  std::vector<uint8_t> invert;    // as many, or none
};

// A port of the model; a constant output has no buffer.
struct DevicePort {
  int32_t buffer = -1;
  SharedTensor constant = nullptr;
  std::shared_ptr<const InputBits> bits = nullptr;  // of an input that the host quantizes; or null
};

struct DevicePlan {
  int64_t max_rows = 1;
  std::vector<DeviceStep> steps;
  std::vector<DeviceBuffer> buffers;
  std::vector<DevicePort> inputs, outputs;
  std::string constants;       // whole places, at least one; an executable may drop its copy
  int64_t constant_bytes = 0;  // their size
  int64_t arena_bytes = 0;
  int64_t row_macs = 0;
  bool exact = true;  // integers alone, between quantized inputs and the last scale: no float sums

  int64_t host_steps() const;
  std::vector<int32_t> Params() const;  // of all steps, kStepParams each
};

// What a tile of a convolution multiplies on tensor cores: bits as bits, or everything as bytes.
enum class ConvTensor : uint8_t { kNone, kBits, kBytes };

// How a convolution is computed. Runs are for codes, and for bits with 1-bit weights without
// groups; tiles for anything, of groups for those whose outputs are whole tiles and whose channels
// whole words.
struct ConvTile {
  // Pixels of an item: of a line, and 64 outputs; of codes any, and `blocks` octets. 0: one pixel
  // and 8 outputs, which are scalars.
  int32_t run = 0;
  int32_t group_items = 0;  // of a work group; 0: the device's choice
  ConvTensor tensor = ConvTensor::kNone;
  int32_t pixels = 0;     // of a tile: 128 or 32
  int32_t outputs = 64;   // of a tile: 64, or 128 of products of a group
  bool by_group = false;  // products of four warps at once, 128 pixels a tile
  int32_t lines = 0;      // in slices: lines and blocks of 64 outputs an item; 0: not in slices
  int32_t blocks = 0;     // octets of an item of codes
  double gain = 0.0;  // measured: so many times as fast as the usual tile; 0: nothing was measured

  // The same way of computing.
  friend bool operator==(const ConvTile& a, const ConvTile& b) {
    return a.run == b.run && a.group_items == b.group_items && a.tensor == b.tensor &&
           a.pixels == b.pixels && a.outputs == b.outputs && a.by_group == b.by_group &&
           a.lines == b.lines && a.blocks == b.blocks;
  }
  // "runs of 8, groups of 32, measured 1.31 times as fast"; empty for the plainest tile.
  std::string Text() const;
};

inline constexpr char kBlockKernel[] = "bm_conv_block";
inline constexpr char kSliceKernel[] = "bm_conv_slices";
inline constexpr char kCodeRunKernel[] = "bm_conv_code_runs";
inline constexpr int32_t kCodeRun = 4;  // pixels of an item, or one
inline constexpr int32_t kSliceGroup = 1;
// The sizes of work groups that plans may name: of that kernel, and of those by octets.
inline constexpr int32_t kBlockGroups[] = {8, 32};
inline constexpr int32_t kOctetGroups[] = {0, 8};

// What the best tile depends on.
struct ConvShape {
  int64_t channels = 0, outputs = 0;
  int64_t out_height = 0, out_width = 0;
  int64_t kernel_h = 0, kernel_w = 0, stride_h = 1, stride_w = 1, dilation_w = 1;
  bool bits_out = true;  // by one threshold a channel
  bool bits_in = true, ternary = false;
  int weight_bits = 1;
  int64_t groups = 1;
  int64_t rows = 1;  // the most that a batch has

  // "14x14 of 256 from 256, 3x3, stride 1x1, bits".
  std::string Text() const;
  // Everything that the best tile depends on, under one name.
  std::string Key() const;
  // Whether kBlockKernel computes it, where max_run() is not 0.
  bool has_blocks() const { return bits_in && weight_bits == 1 && groups == 1; }
  // Whether products are of codes, and kCodeRunKernel computes it too: 1 or kCodeRun pixels, 1 or 2
  // octets an item.
  bool has_code_runs() const {
    return !bits_in || (weight_bits != 1 && !(weight_bits == 2 && ternary));
  }
  bool has_wide_codes() const { return has_code_runs() && groups == 1 && outputs > device::kOctet; }
  // Whether kSliceKernel computes it.
  bool has_slices() const;
  // Pixels of a line whose windows an item can keep; 0: not even one.
  int64_t max_run() const;
};

// The tile that is good without measuring, on CPUs: runs of 8 pixels where there are enough outputs
// for vectors.
ConvTile DefaultConvTile(const ConvShape& shape);

// Runs longer than shape.max_run() are cut to that.
using ChooseConvTile = std::function<ConvTile(const ConvShape& shape)>;

// Who makes bits of inputs of which only signs and thresholds are wanted.
enum class InputQuantizer : uint8_t { kDevice, kHost };

// `lowered` is what model/passes made. Unimplemented or ResourceExhausted, naming the node.
absl::StatusOr<DevicePlan> BuildDevicePlan(const Graph& lowered, int64_t max_rows,
                                           const ChooseConvTile& choose = DefaultConvTile,
                                           InputQuantizer quantizer = InputQuantizer::kDevice);

// Each step with its kernel and shapes, and the memory; `title` is its first line.
std::string DescribeDevicePlan(const DevicePlan& plan, const std::string& title);

}  // namespace bitmill
