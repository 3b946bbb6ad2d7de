// bench/gpu.sh: what the CUDA kernels compute on the card that is here, and how fast.
//
//   bitmill_gpu_bench [--driver LIBRARY] [--seed N] [--check-only]
//
// First random graphs against the reference, bit for bit, from a seed that is another every time.
// Then convolutions of residual networks, the median of some runs, beside what the card does in the
// same run: copies of device memory, and products of bits and bytes whose operands are in
// registers. Prints one JSON object as the last line. Exit code 0, 1 (wrong results or an error of
// the device), 2 (misuse), 3 (no device).
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/cuda/conv_tiles.h"
#include "backends/device/plan_writer.h"
#include "base/status_macros.h"
#include "bench/gpu/gpu_device.h"
#include "gtest/gtest.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/cpu/random_lowered.h"
#include "tests/backends/opencl/differential.h"

namespace bitmill {
namespace {

constexpr int kGraphsAKind = 12;
constexpr int kRuns = 21;
constexpr int64_t kCopyBytes = int64_t{1} << 29;
constexpr int32_t kTurns = 4096;
// Of a warp, and of a group of four.
constexpr double kMacsATurnOfBits = 8.0 * 16 * 8 * 256, kMacsATurnOfBytes = 8.0 * 16 * 8 * 32;
constexpr double kMacsATurnOfGroupBits = 4.0 * 64 * 128 * 256,
                 kMacsATurnOfGroupBytes = 4.0 * 64 * 128 * 32;

struct Options {
  std::string driver = "libcuda.so.1";
  uint32_t seed = std::random_device{}();
  bool check_only = false;
};

struct Ceilings {
  double bytes_per_s = 0, bits_per_s = 0, codes_per_s = 0;  // MACs of bits and of bytes
};

struct Layer {
  const char* name;
  int64_t side, channels, outputs, kernel;
  bool bits = true, ternary = false;
};

constexpr Layer kLayers[] = {{"1x1-bit 56x56x64", 56, 64, 64, 3},
                             {"1x1-bit 28x28x128", 28, 128, 128, 3},
                             {"1x1-bit 14x14x256", 14, 256, 256, 3},
                             {"1x1-bit 7x7x512", 7, 512, 512, 3},
                             {"1x1-bit dense 4096", 1, 4096, 4096, 1},
                             {"ternary x bits 14x14x256", 14, 256, 256, 3, true, true},
                             {"ternary x codes 14x14x256", 14, 256, 256, 3, false, true},
                             {"ternary x codes dense 4096", 1, 4096, 4096, 1, false, true}};

// The median of several runs of `work`, in seconds, after one that does not count.
absl::StatusOr<double> MedianSeconds(GpuDevice& device, const std::function<absl::Status()>& work) {
  std::vector<double> seconds;
  for (int run = 0; run <= kRuns; ++run) {
    BITMILL_ASSIGN_OR_RETURN(const double milliseconds, device.Time(work));
    if (run > 0) seconds.push_back(milliseconds * 1e-3);
  }
  std::nth_element(seconds.begin(), seconds.begin() + kRuns / 2, seconds.end());
  return seconds[kRuns / 2];
}

// `macs`: of a turn of `warps` warps.
absl::StatusOr<double> ProductsPerSecond(GpuDevice& device, const char* kernel, double macs,
                                         uint32_t warps = 1) {
  const uint32_t threads = warps == 1 ? 256 : warps * 32;
  GpuDevice::Launch launch;
  launch.kernel = kernel;
  launch.threads = threads;
  launch.grid_x = static_cast<uint32_t>(device.multiprocessors()) * 4;
  launch.step = kTurns;
  BITMILL_ASSIGN_OR_RETURN(launch.arena, device.Allocate(int64_t{launch.grid_x} * threads * 4));
  const auto seconds = MedianSeconds(device, [&] { return device.Start(launch); });
  device.Free(launch.arena);
  if (!seconds.ok()) return seconds.status();
  return macs * kTurns * launch.grid_x * (threads / 32 / warps) / *seconds;
}

absl::StatusOr<Ceilings> MeasureCeilings(GpuDevice& device) {
  Ceilings ceilings;
  BITMILL_ASSIGN_OR_RETURN(const uint64_t from, device.Allocate(kCopyBytes));
  BITMILL_ASSIGN_OR_RETURN(const uint64_t to, device.Allocate(kCopyBytes));
  BITMILL_RETURN_IF_ERROR(device.Fill(from, 0x5a, kCopyBytes));
  BITMILL_ASSIGN_OR_RETURN(const double seconds, MedianSeconds(device, [&] {
                             return device.CopyWithin(to, from, kCopyBytes);
                           }));
  ceilings.bytes_per_s = 2.0 * kCopyBytes / seconds;
  device.Free(from);
  device.Free(to);
  if (device.compute_capability() < 100) {
    BITMILL_ASSIGN_OR_RETURN(ceilings.bits_per_s,
                             ProductsPerSecond(device, "bm_ceiling_bits", kMacsATurnOfBits));
  }
  BITMILL_ASSIGN_OR_RETURN(ceilings.codes_per_s,
                           ProductsPerSecond(device, "bm_ceiling_bytes", kMacsATurnOfBytes));
  if (device.compute_capability() == 90) {
    constexpr uint32_t kWarps = 4;
    BITMILL_ASSIGN_OR_RETURN(const double bits, ProductsPerSecond(device, "bm_ceiling_group_bits",
                                                                  kMacsATurnOfGroupBits, kWarps));
    BITMILL_ASSIGN_OR_RETURN(const double bytes, ProductsPerSecond(device, "bm_ceiling_group_bytes",
                                                                   kMacsATurnOfGroupBytes, kWarps));
    ceilings.bits_per_s = std::max(ceilings.bits_per_s, bits);
    ceilings.codes_per_s = std::max(ceilings.codes_per_s, bytes);
  }
  return ceilings;
}

LowBitConvOp Convolution(const Layer& layer, std::mt19937& random) {
  LowBitConvOp op;
  auto weights = std::make_shared<Tensor>(
      Tensor::Zeros(DType::kInt8, {layer.outputs, layer.channels, layer.kernel, layer.kernel}));
  for (int8_t& weight : weights->span<int8_t>()) {
    const auto drawn = static_cast<int>(random() % (layer.ternary ? 3 : 2));
    weight = static_cast<int8_t>(drawn == 2 ? 0 : 2 * drawn - 1);
  }
  op.weights = std::move(weights);
  op.weight_bits = layer.ternary ? 2 : 1;
  op.ternary = layer.ternary;
  op.pad_top = op.pad_left = op.pad_bottom = op.pad_right = layer.kernel / 2;
  op.epilogue = LowBitConvOp::Epilogue::kThresholds;
  op.thresholds.assign(static_cast<size_t>(layer.outputs), 0);
  op.flip.assign(static_cast<size_t>(layer.outputs), 0);
  return op;
}

absl::StatusOr<DeviceValue> ValueOf(Shape shape, CodeInfo code) {
  Value value;
  value.dtype = DType::kFloat32;
  value.shape = std::move(shape);
  value.code = code;
  return DeviceValueOf(value);
}

// Seconds of one layer over `rows` rows.
absl::StatusOr<double> LayerSeconds(const std::shared_ptr<GpuDevice>& device, const Layer& layer,
                                    int32_t rows, std::mt19937& random, DeviceStep& step) {
  constexpr CodeInfo kBits = {CodeKind::kBits, 1.0F, 0, 2},
                     kCodes = {CodeKind::kUInt8, 1.0F, 128, 256};
  PlanWriter writer(rows);
  BITMILL_ASSIGN_OR_RETURN(DeviceValue in, ValueOf({1, layer.channels, layer.side, layer.side},
                                                   layer.bits ? kBits : kCodes));
  BITMILL_ASSIGN_OR_RETURN(DeviceValue out,
                           ValueOf({1, layer.outputs, layer.side, layer.side}, kBits));
  writer.AddBuffer(in);
  BITMILL_RETURN_IF_ERROR(AddLowBitConv(Convolution(layer, random), layer.name, in, out,
                                        CudaConvTiles(device->compute_capability()), writer));
  writer.Use(out.buffer);
  BITMILL_ASSIGN_OR_RETURN(const DevicePlan plan, writer.Finish());
  const std::vector<int32_t> params = plan.Params();
  std::vector<uint32_t> data(static_cast<size_t>(plan.arena_bytes) / sizeof(uint32_t));
  for (uint32_t& word : data) word = random();
  GpuDevice::Launch launch = LaunchOf(plan.steps[0], 0, rows);
  BITMILL_ASSIGN_OR_RETURN(launch.arena, device->Allocate(plan.arena_bytes));
  BITMILL_ASSIGN_OR_RETURN(launch.constants, device->Allocate(plan.constant_bytes));
  BITMILL_ASSIGN_OR_RETURN(launch.params, device->Allocate(device::kStepParams * 4));
  BITMILL_RETURN_IF_ERROR(device->CopyIn(launch.arena, data.data(), plan.arena_bytes));
  BITMILL_RETURN_IF_ERROR(
      device->CopyIn(launch.constants, plan.constants.data(), plan.constant_bytes));
  BITMILL_RETURN_IF_ERROR(device->CopyIn(launch.params, params.data(), device::kStepParams * 4));
  constexpr int kLaunches = 20;  // so that the gaps between them are part of none
  const auto seconds = MedianSeconds(*device, [&] {
    for (int i = 0; i < kLaunches; ++i) BITMILL_RETURN_IF_ERROR(device->Start(launch));
    return absl::OkStatus();
  });
  for (const uint64_t memory : {launch.arena, launch.constants, launch.params})
    device->Free(memory);
  step = plan.steps[0];
  if (!seconds.ok()) return seconds.status();
  return *seconds / kLaunches;
}

absl::Status MeasureLayers(const std::shared_ptr<GpuDevice>& device, std::mt19937& random) {
  BITMILL_ASSIGN_OR_RETURN(const Ceilings ceilings, MeasureCeilings(*device));
  std::string json = absl::StrFormat(
      "{\"card\": \"%s\", \"compute_capability\": %d, \"driver\": %d, \"copy_gb_s\": %.1f, "
      "\"bit_tmac_s\": %.2f, \"byte_tmac_s\": %.2f, \"layers\": [",
      device->name(), device->compute_capability(), device->driver_version(),
      ceilings.bytes_per_s * 1e-9, ceilings.bits_per_s * 1e-12, ceilings.codes_per_s * 1e-12);
  const char* comma = "";
  for (const Layer& layer : kLayers) {
    for (const int32_t rows : {1, 32, 256}) {
      DeviceStep step;
      BITMILL_ASSIGN_OR_RETURN(const double seconds,
                               LayerSeconds(device, layer, rows, random, step));
      const double macs = static_cast<double>(step.macs) * rows / seconds;
      const bool as_bits = step.kernel.find("_bits_") != std::string::npos ||
                           step.kernel.find("_ternary_") != std::string::npos;
      const double planes = step.kernel.find("_ternary_") != std::string::npos ? 2.0 : 1.0;
      const double share = macs * planes / (as_bits ? ceilings.bits_per_s : ceilings.codes_per_s);
      const double bytes = (static_cast<double>(step.output_bytes) * 2 * rows +
                            static_cast<double>(step.weight_bytes)) /
                           seconds;
      std::printf("%-28s rows %3d  %-20s %9.2f us  %8.3f TMAC/s  %5.1f %% of its products\n",
                  layer.name, rows, step.kernel.c_str(), seconds * 1e6, macs * 1e-12, share * 100);
      absl::StrAppendFormat(&json,
                            "%s{\"layer\": \"%s\", \"rows\": %d, \"kernel\": \"%s\", \"us\": %.3f, "
                            "\"tmac_s\": %.4f, \"product_share\": %.4f, \"gb_s\": %.2f}",
                            comma, layer.name, rows, step.kernel, seconds * 1e6, macs * 1e-12,
                            share, bytes * 1e-9);
      comma = ", ";
    }
  }
  std::printf("%s]}\n", json.c_str());
  return absl::OkStatus();
}

// Every kind of layer, in tiles of both widths; gtest says what differs.
void CheckKernels(const std::shared_ptr<GpuDevice>& device, std::mt19937& random) {
  const MakeExecutable make = [&](const Graph& graph, DevicePlan plan) {
    return MakeGpuExecutable(device, SignatureOfLowered(graph), std::move(plan));
  };
  for (const LoweredKind& wanted : AllLoweredKinds()) {
    for (int i = 0; i < kGraphsAKind; ++i) {
      LoweredKind kind = wanted;
      kind.dense = i % 4 == 3;
      kind.channels = i < 2 ? 64 + 64 * i : 0;
      const auto tiles = [&](const ConvShape& shape) {
        ConvTile tile = CudaConvTiles(device->compute_capability())(shape);
        if (tile.pixels > 0) tile.pixels = i % 2 == 0 ? 128 : 32;
        return tile;
      };
      CheckAgainstReference(RandomLowered(kind, random), make, random, tiles);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  for (int i = 0; i < kGraphsAKind; ++i) {
    CheckAgainstReference(RandomPooling(i % 2 == 0, random), make, random);
    CheckAgainstReference(RandomFloat(i % 2 == 0, random), make, random);
    if (testing::Test::HasFatalFailure()) return;
  }
}

Options& TheOptions() {
  static Options options;
  return options;
}

TEST(GpuBench, KernelsGiveTheReferencesBitsAndAreTimed) {
  const Options& options = TheOptions();
  auto device = GpuDevice::Open(options.driver);
  ASSERT_TRUE(device.ok()) << device.status();
  std::printf("%s, compute capability %d, seed %u\n", (*device)->name().c_str(),
              (*device)->compute_capability(), options.seed);
  std::mt19937 random(options.seed);
  CheckKernels(*device, random);
  if (HasFatalFailure() || options.check_only) return;
  const absl::Status measured = MeasureLayers(*device, random);
  ASSERT_TRUE(measured.ok()) << measured;
}

int Main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  Options& options = TheOptions();
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const bool value = i + 1 < argc;
    if (option == "--check-only") {
      options.check_only = true;
    } else if (option == "--driver" && value) {
      options.driver = argv[++i];
    } else if (option == "--seed" && value && absl::SimpleAtoi(argv[i + 1], &options.seed)) {
      ++i;
    } else {
      std::fprintf(stderr, "bitmill_gpu_bench: %s is not an option, or its value is missing\n",
                   option.c_str());
      return 2;
    }
  }
  if (const auto device = GpuDevice::Open(options.driver); !device.ok()) {
    std::fprintf(stderr, "bitmill_gpu_bench: %s\n", std::string(device.status().message()).c_str());
    return device.status().code() == absl::StatusCode::kNotFound ? 3 : 1;
  }
  return RUN_ALL_TESTS();
}

}  // namespace
}  // namespace bitmill

int main(int argc, char** argv) { return bitmill::Main(argc, argv); }
