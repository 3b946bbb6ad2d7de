#include "backends/device/tune_tiles.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <random>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "backends/device/block_conv.h"
#include "backends/device/device_executable.h"
#include "backends/device/plan_writer.h"
#include "base/byte_codec.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr double kNanosPerSecond = 1e9;
constexpr int64_t kUsualRows = 8;
// A first look at all tiles leaves those that are not far behind, which are then told apart.
constexpr int kLooks = 2, kRounds = 9, kMinRounds = 3;
constexpr double kFarBehind = 1.5;
// What the better tile has to gain, and what it may lose with one row or with many.
constexpr double kMinGain = 1.05, kMaxLoss = 0.97;

struct KeptTile {
  int32_t run = 0, group_items = 0, lines = 0, blocks = 0;
  double gain = 0.0;
};

template <typename Codec>
void Fields(Codec& codec, KeptTile& kept) {
  codec(kept.run, kept.group_items, kept.lines, kept.blocks, kept.gain);
}

std::string NameOf(const ConvShape& shape) { return absl::StrCat("tile ", shape.Key()); }

struct Layer {
  const LowBitConvOp* op = nullptr;
  DeviceValue in, out;  // without buffers
  ConvShape shape;
  int64_t macs = 0;  // of all layers of this shape
};

// One of each shape, those that compute most first.
std::vector<Layer> LayersOf(const Graph& lowered, int64_t max_rows) {
  std::map<std::string, Layer> layers;
  for (const Node& node : lowered.nodes) {
    const auto* const op = std::get_if<LowBitConvOp>(&node.lowered);
    if (op == nullptr || node.inputs.empty() || node.outputs.empty()) continue;
    const auto in = DeviceValueOf(lowered.value(node.inputs[0]));
    const auto out = DeviceValueOf(lowered.value(node.outputs[0]));
    if (!in.ok() || !out.ok() || in->elements == 0 || out->elements == 0) continue;
    ConvShape shape = ShapeOf(*op, *in, *out);
    shape.rows = max_rows;
    Layer& layer = layers[shape.Key()];
    if (layer.op == nullptr) layer = {op, *in, *out, shape, 0};
    layer.macs += ElementCount(op->weights->shape()) * out->pixels();
  }
  std::vector<Layer> sorted;
  sorted.reserve(layers.size());
  for (auto& [key, layer] : layers) sorted.push_back(std::move(layer));
  std::ranges::stable_sort(sorted, std::ranges::greater{}, &Layer::macs);
  return sorted;
}

// The layer once for each tile, all from one input; the last one is the plan's output.
absl::StatusOr<DevicePlan> PlanOf(const Layer& layer, const std::vector<ConvTile>& tiles,
                                  int64_t rows) {
  PlanWriter writer(rows);
  DeviceValue in = layer.in;
  writer.AddBuffer(in);
  writer.plan().inputs.push_back({in.buffer, nullptr});
  DeviceValue out = layer.out;
  BITMILL_RETURN_IF_ERROR(AddTiles(*layer.op, tiles, in, out, writer));
  writer.Use(out.buffer);
  writer.plan().outputs.push_back({out.buffer, nullptr});
  return writer.Finish();
}

std::vector<std::byte> RandomRow(const DeviceValue& value, size_t bytes) {
  std::mt19937 random(7);
  std::vector<std::byte> row(bytes);
  const auto levels = value.bits() ? 256U : static_cast<uint32_t>(value.code.levels);
  for (std::byte& byte : row) byte = static_cast<std::byte>(random() % levels);
  return row;
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Runs one plan of tiles, with one row or with all.
class TileRuns {
 public:
  static absl::StatusOr<std::unique_ptr<TileRuns>> Create(
      const std::shared_ptr<const PlanDevice>& device, const Layer& layer,
      const std::vector<ConvTile>& tiles, int64_t rows) {
    BITMILL_ASSIGN_OR_RETURN(DevicePlan plan, PlanOf(layer, tiles, rows));
    const auto spec_of = [&plan](const DevicePort& port) {
      const int64_t bytes = plan.buffers[static_cast<size_t>(port.buffer)].row_bytes;
      return TensorSpec{"values", DType::kUInt8, {bytes}, bytes};
    };
    Signature signature{{spec_of(plan.inputs[0])}, {spec_of(plan.outputs[0])}, true};
    std::unique_ptr<TileRuns> runs(new TileRuns);
    BITMILL_ASSIGN_OR_RETURN(
        runs->executable_, DeviceExecutable::Create(device, std::move(signature), std::move(plan)));
    const Signature& made = runs->executable_->signature();
    runs->input_ = RandomRow(layer.in, static_cast<size_t>(made.inputs[0].row_bytes));
    runs->output_.resize(static_cast<size_t>(made.outputs[0].row_bytes));
    runs->context_ = runs->executable_->CreateContext();
    return runs;
  }

  // Of each tile, what the device says that it took.
  absl::StatusOr<std::vector<double>> Time(int64_t rows) {
    const std::vector<const std::byte*> inputs(static_cast<size_t>(rows), input_.data());
    const std::vector<std::byte*> outputs(static_cast<size_t>(rows), output_.data());
    const std::byte* const* const input_port = inputs.data();
    std::byte* const* const output_port = outputs.data();
    const std::vector<Operation> operations = executable_->operations();
    std::vector<int64_t> ns(operations.size(), 0);
    OperationTimes times{absl::MakeSpan(ns), 0};
    BITMILL_RETURN_IF_ERROR(executable_->RunTimed(
        {rows, absl::MakeConstSpan(&input_port, 1), absl::MakeConstSpan(&output_port, 1)},
        *context_, times));
    std::vector<double> tiles;
    for (size_t i = 0; i < operations.size(); ++i) {
      if (operations[i].row_macs == 0)
        continue;  // what prepares a tile's input is the same for all
      if (ns[i] <= 0) return absl::UnimplementedError("the driver does not time its kernels");
      tiles.push_back(static_cast<double>(ns[i]));
    }
    return tiles;
  }

 private:
  TileRuns() = default;

  std::unique_ptr<DeviceExecutable> executable_;
  std::unique_ptr<ExecutionContext> context_;
  std::vector<std::byte> input_, output_;
};

struct Winner {
  ConvTile tile;
  double usual_ns = 0.0, ns = 0.0;  // of as many rows as usually run together
};

class LayerTuner {
 public:
  LayerTuner(const std::shared_ptr<const PlanDevice>& device, const Layer& layer,
             const Clock& clock, MonotonicNanos deadline)
      : device_(device), layer_(layer), clock_(clock), deadline_(deadline) {
    rows_.push_back(1);
    if (layer.shape.rows > 1) rows_.push_back(std::min(layer.shape.rows, kUsualRows));
  }

  // `tiles`: the usual one first. DeadlineExceeded when there is not enough time.
  absl::StatusOr<Winner> Run(std::vector<ConvTile> tiles) const {
    BITMILL_RETURN_IF_ERROR(LeaveFast(tiles));
    BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<TileRuns> runs,
                             TileRuns::Create(device_, layer_, tiles, rows_.back()));
    // times[rows][tile]: one a round
    std::vector<std::vector<std::vector<double>>> times(
        rows_.size(), std::vector<std::vector<double>>(tiles.size()));
    for (int round = 0; round < kRounds; ++round) {
      if (clock_.Now() > deadline_) {
        if (round >= kMinRounds) break;
        return absl::DeadlineExceededError("no time left");
      }
      for (size_t r = 0; r < rows_.size(); ++r) {
        BITMILL_ASSIGN_OR_RETURN(const std::vector<double> ns, runs->Time(rows_[r]));
        for (size_t t = 0; t < tiles.size(); ++t) times[r][t].push_back(ns[t]);
      }
    }
    return Judge(tiles, times);
  }

 private:
  // Takes away the tiles that are far behind another one, whatever the rows.
  absl::Status LeaveFast(std::vector<ConvTile>& tiles) const {
    BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<TileRuns> runs,
                             TileRuns::Create(device_, layer_, tiles, rows_.back()));
    std::vector<bool> fast(tiles.size(), false);
    fast[0] = true;
    for (const int64_t rows : rows_) {
      std::vector<double> shortest(tiles.size(), std::numeric_limits<double>::max());
      for (int look = 0; look < kLooks; ++look) {
        if (clock_.Now() > deadline_) return absl::DeadlineExceededError("no time left");
        BITMILL_ASSIGN_OR_RETURN(const std::vector<double> ns, runs->Time(rows));
        for (size_t t = 0; t < tiles.size(); ++t) shortest[t] = std::min(shortest[t], ns[t]);
      }
      const double best = std::ranges::min(shortest);
      for (size_t t = 0; t < tiles.size(); ++t) {
        if (shortest[t] <= kFarBehind * best) fast[t] = true;
      }
    }
    std::vector<ConvTile> left;
    for (size_t t = 0; t < tiles.size(); ++t) {
      if (fast[t]) left.push_back(tiles[t]);
    }
    tiles = std::move(left);
    return absl::OkStatus();
  }

  static Winner Judge(const std::vector<ConvTile>& tiles,
                      const std::vector<std::vector<std::vector<double>>>& times) {
    size_t best = 0;
    double most = 1.0;
    for (size_t t = 1; t < tiles.size(); ++t) {
      double product = 1.0, least = std::numeric_limits<double>::max();
      for (const auto& of_rows : times) {
        std::vector<double> ratios;
        ratios.reserve(of_rows[t].size());
        for (size_t i = 0; i < of_rows[t].size(); ++i) {
          ratios.push_back(of_rows[0][i] / of_rows[t][i]);
        }
        const double ratio = Median(std::move(ratios));
        product *= ratio;
        least = std::min(least, ratio);
      }
      const double gain = std::pow(product, 1.0 / static_cast<double>(times.size()));
      if (gain < kMinGain || least < kMaxLoss || gain <= most) continue;
      most = gain;
      best = t;
    }
    Winner winner{tiles[best], Median(times.back()[0]), Median(times.back()[best])};
    winner.tile.gain = most;
    return winner;
  }

  const std::shared_ptr<const PlanDevice>& device_;
  const Layer& layer_;
  const Clock& clock_;
  const MonotonicNanos deadline_;
  std::vector<int64_t> rows_;  // of the batches that are timed
};

// What was kept, if it is one of the tiles that there are.
absl::StatusOr<ConvTile> LoadTile(const PlanDevice& device, const ConvShape& shape,
                                  const std::vector<ConvTile>& tiles) {
  BITMILL_ASSIGN_OR_RETURN(const std::string bytes, device.LoadKept(NameOf(shape)));
  KeptTile kept;
  PlainDecoder decoder(bytes);
  decoder(kept);
  for (ConvTile tile : tiles) {
    if (tile.run != kept.run || tile.group_items != kept.group_items || tile.lines != kept.lines ||
        tile.blocks != kept.blocks) {
      continue;
    }
    if (!decoder.AtEnd() || !(kept.gain > 0.0)) break;
    tile.gain = kept.gain;
    return tile;
  }
  return absl::DataLossError(absl::StrCat("what is kept of ", shape.Key(), " is no tile of it"));
}

void KeepTile(const PlanDevice& device, const ConvShape& shape, const ConvTile& tile) {
  KeptTile kept{tile.run, tile.group_items, tile.lines, tile.blocks, tile.gain};
  PlainEncoder encoder;
  encoder(kept);
  const absl::Status status = device.Keep(NameOf(shape), encoder.bytes());
  if (!status.ok()) LogInfo(absl::StrCat("measured tile not kept: ", status.message()));
}

}  // namespace

std::vector<ConvTile> TilesOf(const PlanDevice& device, const ConvShape& shape) {
  std::vector<ConvTile> tiles = {device.conv_tiles()(shape)};
  for (const ConvTile& tile : device.OtherTiles(shape)) {
    if (std::ranges::find(tiles, tile) == tiles.end()) tiles.push_back(tile);
  }
  return tiles;
}

std::string TileTuning::Text() const {
  const auto shapes = [](int count) {
    return absl::StrCat(count, count == 1 ? " shape" : " shapes");
  };
  std::vector<std::string> parts;
  if (measured > 0) {
    parts.push_back(
        absl::StrFormat("tiles of %s measured, %.2f times as fast", shapes(measured), gain));
  }
  if (kept > 0) parts.push_back(absl::StrCat("tiles of ", shapes(kept), " as measured before"));
  if (untried > 0) parts.push_back(absl::StrCat("no time for ", shapes(untried)));
  return absl::StrJoin(parts, ", ");
}

TileTuning TuneTiles(const std::shared_ptr<const PlanDevice>& device, const Graph& lowered,
                     int64_t max_rows, double seconds, const Clock& clock) {
  const MonotonicNanos deadline =
      clock.Now() + static_cast<MonotonicNanos>(seconds * kNanosPerSecond);
  TileTuning tuning;
  std::map<std::string, ConvTile> chosen;
  double usual_ns = 0.0, ns = 0.0;
  for (const Layer& layer : LayersOf(lowered, max_rows)) {
    const std::vector<ConvTile> tiles = TilesOf(*device, layer.shape);
    if (tiles.size() < 2) continue;
    if (const auto kept = LoadTile(*device, layer.shape, tiles); kept.ok()) {
      chosen[layer.shape.Key()] = *kept;
      ++tuning.kept;
      continue;
    } else if (!absl::IsNotFound(kept.status())) {
      LogWarning(absl::StrCat("measured tile not used: ", kept.status().message()));
    }
    if (seconds <= 0.0) continue;
    const absl::StatusOr<Winner> winner = LayerTuner(device, layer, clock, deadline).Run(tiles);
    if (absl::IsDeadlineExceeded(winner.status())) {
      ++tuning.untried;
      continue;
    }
    if (!winner.ok()) {
      LogWarning(absl::StrCat("tiles of ", layer.shape.Key(), " not measured on ", device->name(),
                              ": ", winner.status().message()));
      continue;
    }
    const auto layers =
        static_cast<double>(layer.macs) /
        static_cast<double>(ElementCount(layer.op->weights->shape()) * layer.out.pixels());
    usual_ns += winner->usual_ns * layers;
    ns += winner->ns * layers;
    KeepTile(*device, layer.shape, winner->tile);
    chosen[layer.shape.Key()] = winner->tile;
    ++tuning.measured;
  }
  if (ns > 0.0) tuning.gain = usual_ns / ns;
  tuning.choose = [chosen = std::move(chosen),
                   usual = device->conv_tiles()](const ConvShape& shape) {
    const auto found = chosen.find(shape.Key());
    return found != chosen.end() ? found->second : usual(shape);
  };
  return tuning;
}

}  // namespace bitmill
