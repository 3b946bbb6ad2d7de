#include "backends/parallel/build_stages.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/parallel/split_layers.h"
#include "base/check.h"
#include "base/log.h"

namespace bitmill {
namespace {

// Rows that go through the stages together: beyond these there is nothing left to amortize.
constexpr int64_t kMostChunkRows = 32;
// Its stages have nothing to copy.
constexpr char kCpu[] = "cpu";

class StagesBuilder {
 public:
  StagesBuilder(const DividedGraph& whole, int64_t max_rows, const CompilePart& compile)
      : whole_(whole), compile_(compile), value_places_(whole.graph.values.size(), -1) {
    const Graph& graph = whole.graph;
    model_.max_rows = graph.batchable ? max_rows : 1;
    model_.chunk_rows = std::min(model_.max_rows, kMostChunkRows);
    for (size_t i = 0; i < graph.inputs.size(); ++i) {
      const auto place = static_cast<int32_t>(model_.places.size());
      value_places_[static_cast<size_t>(graph.inputs[i].value)] = place;
      Add(StagePlace::Kind::kInput, static_cast<int32_t>(i));
    }
    output_place_ = static_cast<int32_t>(model_.places.size());
    for (size_t i = 0; i < graph.outputs.size(); ++i) {
      Add(StagePlace::Kind::kOutput, static_cast<int32_t>(i));
    }
  }

  // `parts` are slices of one layer, or a single part.
  absl::Status AddStage(std::string name, std::vector<GraphPart> parts) {
    const size_t index = model_.stages.size();
    Stage stage;
    stage.name = std::move(name);
    const size_t count = parts.size();
    for (GraphPart& part : parts) {
      StagePart& made = stage.parts.emplace_back();
      for (const ValueId id : part.inputs) {
        const int32_t place = value_places_[static_cast<size_t>(id)];
        if (place < 0) return absl::InternalError("a stage reads what none before it has made");
        made.inputs.push_back(place);
        if (model_.places[static_cast<size_t>(place)].kind != StagePlace::Kind::kValue) continue;
        int& depth = model_.places[static_cast<size_t>(place)].depth;
        depth = std::max(depth, static_cast<int>(index - made_by_[static_cast<size_t>(id)]));
      }
      for (const PartOutput& output : part.outputs) {
        made.outputs.push_back({PlaceOf(output, index), output.slice});
      }
      PartRequest request{index, static_cast<size_t>(&part - parts.data()), count,
                          model_.chunk_rows};
      absl::StatusOr<std::unique_ptr<Executable>> executable =
          compile_(std::move(part.graph), request);
      if (!executable.ok()) {
        return absl::Status(executable.status().code(),
                            absl::StrCat(stage.name, ": ", executable.status().message()));
      }
      made.executable = *std::move(executable);
    }
    model_.stages.push_back(std::move(stage));
    return absl::OkStatus();
  }

  StagedModel Take(StagedModel::Flow flow) {
    model_.flow = flow;
    if (flow == StagedModel::Flow::kTensor) {  // one chunk at a time
      for (StagePlace& place : model_.places) place.depth = 1;
      return std::move(model_);
    }
    for (Stage& stage : model_.stages) {
      if (stage.parts.front().executable->backend_name() != kCpu) stage.at_a_time = 2;
    }
    for (StagePlace& place : model_.places) place.depth *= model_.between();
    return std::move(model_);
  }

 private:
  void Add(StagePlace::Kind kind, int32_t port, int64_t row_bytes = 0) {
    model_.places.push_back({kind, port, row_bytes, 1});
  }

  int32_t PlaceOf(const PartOutput& output, size_t stage) {
    if (output.port >= 0) return output_place_ + output.port;
    const auto v = static_cast<size_t>(output.value);
    if (value_places_[v] < 0) {
      made_by_.resize(whole_.graph.values.size(), 0);
      made_by_[v] = stage;
      value_places_[v] = static_cast<int32_t>(model_.places.size());
      Add(StagePlace::Kind::kValue, -1, HandedRowBytes(whole_.graph.value(output.value)));
    }
    return value_places_[v];
  }

  const DividedGraph& whole_;
  const CompilePart& compile_;
  std::vector<int32_t> value_places_;  // -1: not yet
  std::vector<size_t> made_by_;        // stage, of values that have a place
  int32_t output_place_ = 0;
  StagedModel model_;
};

std::string NameOf(const Node& node) {
  return EscapeForLog(node.name.empty() ? node.op : node.name);
}

}  // namespace

absl::StatusOr<StagedModel> BuildPipeline(const DividedGraph& whole,
                                          absl::Span<const NodeRange> ranges, int64_t max_rows,
                                          const CompilePart& compile) {
  StagesBuilder builder(whole, max_rows, compile);
  for (size_t s = 0; s < ranges.size(); ++s) {
    std::vector<GraphPart> part;
    part.push_back(PartOf(whole, ranges[s], s + 1 == ranges.size()));
    absl::Status status = builder.AddStage(absl::StrCat("stage ", s + 1), std::move(part));
    if (!status.ok()) return status;
  }
  return builder.Take(StagedModel::Flow::kPipeline);
}

absl::StatusOr<StagedModel> BuildTensor(const DividedGraph& whole, absl::Span<const size_t> layers,
                                        int parts, int64_t max_rows, const CompilePart& compile) {
  StagesBuilder builder(whole, max_rows, compile);
  const size_t nodes = whole.graph.nodes.size();
  size_t next = 0;
  const auto add_whole = [&](size_t end) -> absl::Status {
    if (next == end && end != nodes) return absl::OkStatus();
    std::vector<GraphPart> part;
    part.push_back(PartOf(whole, {next, end}, end == nodes));
    // Nothing behind the last layer.
    if (next == end && part.front().outputs.empty()) return absl::OkStatus();
    const std::string name =
        next == end ? "the end" : absl::StrCat("from ", NameOf(whole.graph.nodes[next]));
    return builder.AddStage(name, std::move(part));
  };
  for (const size_t layer : layers) {
    BITMILL_CHECK(layer >= next && layer < nodes);
    if (absl::Status status = add_whole(layer); !status.ok()) return status;
    absl::Status status =
        builder.AddStage(NameOf(whole.graph.nodes[layer]), SlicesOf(whole, layer, parts));
    if (!status.ok()) return status;
    next = layer + 1;
  }
  if (absl::Status status = add_whole(nodes); !status.ok()) return status;
  return builder.Take(StagedModel::Flow::kTensor);
}

}  // namespace bitmill
