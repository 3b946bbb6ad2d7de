#include "backends/parallel/graph_parts.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "backends/coded_port.h"
#include "backends/cpu/plan_values.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

// Multiply-accumulates, and bytes of values, in a microsecond of one core: only how they compare
// matters.
constexpr double kBitMacs = 8e5, kCodeMacs = 2e5, kFloatMacs = 6e4, kValueBytes = 2e4;

bool IsComputed(const Graph& graph, ValueId id) {
  return id != kNoValue && graph.value(id).constant == nullptr;
}

// The node that makes each value, and the last one that reads it; -1: none.
struct Lifetimes {
  explicit Lifetimes(const Graph& graph)
      : producer(graph.values.size(), -1), last_reader(graph.values.size(), -1) {
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      for (const ValueId id : graph.nodes[n].inputs) {
        if (id != kNoValue) last_reader[static_cast<size_t>(id)] = static_cast<int64_t>(n);
      }
      for (const ValueId id : graph.nodes[n].outputs) {
        if (id != kNoValue) producer[static_cast<size_t>(id)] = static_cast<int64_t>(n);
      }
    }
  }
  std::vector<int64_t> producer, last_reader;
};

GraphPort PortOf(const DividedGraph& whole, ValueId id, const std::string& name) {
  GraphPort port;
  port.value = id;
  port.name = name;
  port.dtype = whole.graph.value(id).dtype;
  const auto v = static_cast<size_t>(id);
  port.channels_last = v < whole.channels_last.size() && whole.channels_last[v] != 0;
  return port;
}

int64_t Macs(const Graph& graph, const Node& node, const SharedTensor& weights) {
  if (weights == nullptr || weights->shape().empty() || weights->shape()[0] == 0) return 0;
  // Every output element takes one filter.
  return ElementCount(graph.value(node.outputs[0]).shape) *
         (ElementCount(weights->shape()) / weights->shape()[0]);
}

// The bytes of values that cross before each cut.
std::vector<int64_t> BytesAcross(const Graph& graph, absl::Span<const size_t> cuts) {
  const Lifetimes lives(graph);
  std::vector<int64_t> bytes(cuts.size(), 0);
  for (size_t v = 0; v < graph.values.size(); ++v) {
    if (lives.producer[v] < 0) continue;
    for (size_t c = 0; c < cuts.size(); ++c) {
      const auto cut = static_cast<int64_t>(cuts[c]);
      if (lives.producer[v] < cut && lives.last_reader[v] >= cut) {
        bytes[c] += HandedRowBytes(graph.values[v]);
      }
    }
  }
  return bytes;
}

}  // namespace

int64_t HandedRowBytes(const Value& value) {
  if (value.code.kind == CodeKind::kNone) {
    return ElementCount(value.shape) * DTypeSize(value.dtype);
  }
  const CodedPort port = CodedPortOf(value);
  // An image whose first dimension is not 1 has no pixels of channels.
  const bool image = value.shape.size() < 2 || value.shape[0] == 1;
  return image ? port.row_bytes() : 0;
}

absl::StatusOr<DividedGraph> DivideForCpu(const Graph& lowered) {
  BITMILL_ASSIGN_OR_RETURN(const std::vector<ValueUse> uses, AnalyseValues(lowered));
  DividedGraph divided{lowered, std::vector<uint8_t>(uses.size(), 0)};
  for (size_t v = 0; v < uses.size(); ++v) {
    divided.channels_last[v] = uses[v].layout.storage == Storage::kPixelFloat ? 1 : 0;
  }
  return divided;
}

GraphPart PartOf(const DividedGraph& whole, NodeRange range, bool with_rest) {
  const Graph& graph = whole.graph;
  const Lifetimes lives(graph);
  GraphPart part;
  Graph& own = part.graph;
  own.name = graph.name;
  own.source = graph.source;
  own.opset = graph.opset;
  own.batchable = graph.batchable;
  own.values.resize(graph.values.size());  // numbers stay; values of other parts are left empty
  std::vector<uint8_t> seen(graph.values.size(), 0);
  const auto take = [&](ValueId id) {
    if (id == kNoValue || std::exchange(seen[static_cast<size_t>(id)], 1) != 0) return false;
    own.value(id) = graph.value(id);
    return true;
  };
  const auto is_own = [&](ValueId id) {
    const int64_t producer = lives.producer[static_cast<size_t>(id)];
    return producer >= static_cast<int64_t>(range.first) &&
           producer < static_cast<int64_t>(range.end);
  };
  const auto read = [&](ValueId id) {
    if (!take(id) || !IsComputed(graph, id) || is_own(id)) return;
    part.inputs.push_back(id);
    own.inputs.push_back(PortOf(whole, id, graph.value(id).name));
  };
  for (size_t n = range.first; n < range.end; ++n) {
    own.nodes.push_back(graph.nodes[n]);
    for (const ValueId id : graph.nodes[n].inputs) read(id);
    for (const ValueId id : graph.nodes[n].outputs) take(id);
  }
  const auto give = [&](ValueId id, int32_t port, const std::string& name) {
    part.outputs.push_back({id, port, {1, HandedRowBytes(graph.value(id)), 0, 0}});
    own.outputs.push_back(PortOf(whole, id, name));
    if (port >= 0) own.outputs.back().channels_last = false;
  };
  for (size_t n = range.first; n < range.end; ++n) {
    for (const ValueId id : graph.nodes[n].outputs) {
      if (id != kNoValue &&
          lives.last_reader[static_cast<size_t>(id)] >= static_cast<int64_t>(range.end)) {
        give(id, -1, graph.value(id).name);
      }
    }
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const ValueId id = graph.outputs[i].value;
    const bool made = lives.producer[static_cast<size_t>(id)] >= 0 && IsComputed(graph, id);
    if (made ? !is_own(id) : !with_rest) continue;
    read(id);
    give(id, static_cast<int32_t>(i), graph.outputs[i].name);
  }
  return part;
}

std::vector<size_t> PossibleCuts(const Graph& lowered) {
  const Lifetimes lives(lowered);
  std::vector<uint8_t> possible(lowered.nodes.size(), 1);
  for (size_t v = 0; v < lowered.values.size(); ++v) {
    if (lives.producer[v] < 0 || HandedRowBytes(lowered.values[v]) > 0) continue;
    for (int64_t n = lives.producer[v] + 1; n <= lives.last_reader[v]; ++n) {
      possible[static_cast<size_t>(n)] = 0;
    }
  }
  std::vector<size_t> cuts;
  for (size_t n = 1; n < lowered.nodes.size(); ++n) {
    if (possible[n] != 0) cuts.push_back(n);
  }
  return cuts;
}

std::vector<double> NodeMicros(const Graph& lowered) {
  std::vector<double> micros;
  micros.reserve(lowered.nodes.size());
  for (const Node& node : lowered.nodes) {
    double cost = 0.0;
    if (!IsAliasNode(lowered, node)) {
      for (const auto* const ids : {&node.inputs, &node.outputs}) {
        for (const ValueId id : *ids) {
          if (!IsComputed(lowered, id)) continue;
          cost += static_cast<double>(HandedRowBytes(lowered.value(id))) / kValueBytes;
        }
      }
    }
    if (const auto* conv = std::get_if<LowBitConvOp>(&node.lowered)) {
      const bool bits = UsesBitKernel(*conv, lowered.value(node.inputs[0]));
      cost +=
          static_cast<double>(Macs(lowered, node, conv->weights)) / (bits ? kBitMacs : kCodeMacs);
    } else if (const auto* float_conv = std::get_if<FloatConvOp>(&node.lowered)) {
      cost += static_cast<double>(Macs(lowered, node, float_conv->weights)) / kFloatMacs;
    } else if (const auto* dense = std::get_if<FloatDenseOp>(&node.lowered)) {
      cost += static_cast<double>(Macs(lowered, node, dense->weights)) / kFloatMacs;
    }
    micros.push_back(cost);
  }
  return micros;
}

std::vector<NodeRange> BalancedRanges(const Graph& lowered, absl::Span<const size_t> cuts,
                                      absl::Span<const double> micros,
                                      absl::Span<const double> scale) {
  const size_t stages = std::min(scale.size(), cuts.size() + 1);
  std::vector<size_t> ends(cuts.begin(), cuts.end());
  ends.push_back(lowered.nodes.size());
  const std::vector<int64_t> bytes = BytesAcross(lowered, cuts);
  std::vector<double> sums(lowered.nodes.size() + 1, 0.0);
  for (size_t n = 0; n < micros.size(); ++n) sums[n + 1] = sums[n] + micros[n];

  // best[s][e]: of s + 1 ranges that end at ends[e].
  struct Best {
    double largest = std::numeric_limits<double>::infinity();
    int64_t bytes = 0;
    size_t before = 0;  // index of the end of the range before
  };
  std::vector<std::vector<Best>> best(stages, std::vector<Best>(ends.size()));
  for (size_t e = 0; e < ends.size(); ++e) best[0][e] = {sums[ends[e]] * scale[0], 0, 0};
  for (size_t s = 1; s < stages; ++s) {
    for (size_t e = s; e < ends.size(); ++e) {
      for (size_t b = s - 1; b < e; ++b) {
        const double own = (sums[ends[e]] - sums[ends[b]]) * scale[s];
        const Best now{std::max(best[s - 1][b].largest, own), best[s - 1][b].bytes + bytes[b], b};
        Best& known = best[s][e];
        if (now.largest < known.largest ||
            (now.largest == known.largest && now.bytes < known.bytes)) {
          known = now;
        }
      }
    }
  }
  std::vector<NodeRange> ranges(stages);
  size_t end = ends.size() - 1;
  for (size_t s = stages; s-- > 0;) {
    const size_t before = best[s][end].before;
    ranges[s] = {s == 0 ? 0 : ends[before], ends[end]};
    end = before;
  }
  return ranges;
}

}  // namespace bitmill
