#include "backends/parallel/graph_parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "backends/parallel/split_layers.h"
#include "tests/backends/cpu/random_lowered.h"

namespace bitmill {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// x -> n0 -> v1 -> n1 -> v2 .., a value a node, of `channels` bits but for the ends.
Graph Line(size_t nodes, int64_t channels = 64) {
  Graph graph;
  graph.batchable = true;
  const auto add = [&](bool bits) {
    Value value;
    value.name = absl::StrCat("v", graph.values.size());
    value.dtype = DType::kFloat32;
    value.shape = {1, channels, 2, 3};
    if (bits) value.code.kind = CodeKind::kBits;
    return graph.AddValue(std::move(value));
  };
  ValueId last = add(false);
  graph.inputs.push_back({last, "x", DType::kFloat32, {}});
  for (size_t n = 0; n < nodes; ++n) {
    Node node;
    node.name = absl::StrCat("n", n);
    node.inputs = {last};
    last = add(n + 1 < nodes);
    node.outputs = {last};
    graph.nodes.push_back(std::move(node));
  }
  graph.outputs.push_back({last, "y", DType::kFloat32, {}});
  return graph;
}

TEST(GraphPartsTest, PartReadsAndGivesWhatOthersNeed) {
  Graph graph = Line(4);
  graph.nodes[3].inputs.push_back(1);  // a shortcut over two nodes
  const DividedGraph whole{graph, {}};
  const GraphPart middle = PartOf(whole, {1, 3}, false);
  EXPECT_THAT(middle.inputs, ElementsAre(1));
  ASSERT_EQ(middle.outputs.size(), 1U);
  EXPECT_EQ(middle.outputs[0].value, 3);
  EXPECT_EQ(middle.outputs[0].port, -1);
  EXPECT_EQ(middle.graph.nodes.size(), 2U);
  EXPECT_TRUE(middle.graph.batchable);
  EXPECT_EQ(middle.graph.value(0).dtype, DType::kInvalid) << "not the part's";
  const GraphPart last = PartOf(whole, {3, 4}, true);
  EXPECT_THAT(last.inputs, ElementsAre(3, 1));
  ASSERT_EQ(last.outputs.size(), 1U);
  EXPECT_EQ(last.outputs[0].port, 0);
  EXPECT_EQ(last.graph.outputs[0].name, "y");
}

TEST(GraphPartsTest, OutputsThatNobodyMakesAreThoseOfOnePart) {
  Graph graph = Line(2);
  graph.outputs.push_back({0, "same", DType::kFloat32, {}});
  const DividedGraph whole{graph, {}};
  EXPECT_EQ(PartOf(whole, {0, 1}, false).outputs.size(), 1U);
  const GraphPart last = PartOf(whole, {1, 2}, true);
  EXPECT_THAT(last.inputs, ElementsAre(1, 0));
  EXPECT_EQ(last.outputs.size(), 2U);
}

TEST(GraphPartsTest, BytesBetweenPartsAreThoseOfBitsAndCodes) {
  const Graph graph = Line(2, 70);
  EXPECT_EQ(HandedRowBytes(graph.value(0)), 70 * 6 * 4);
  EXPECT_EQ(HandedRowBytes(graph.value(1)), 6 * 16);
  Value codes = graph.value(1);
  codes.code.kind = CodeKind::kUInt8;
  EXPECT_EQ(HandedRowBytes(codes), 6 * 72);
  codes.shape[0] = 2;
  EXPECT_EQ(HandedRowBytes(codes), 0);
}

TEST(GraphPartsTest, CutsLeaveOutWhatCannotBeHandedOver) {
  Graph graph = Line(4);
  EXPECT_THAT(PossibleCuts(graph), ElementsAre(1, 2, 3));
  graph.value(2).shape[0] = 2;
  EXPECT_THAT(PossibleCuts(graph), ElementsAre(1, 3));
}

TEST(GraphPartsTest, RangesAreBalancedByCostAndScale) {
  const Graph graph = Line(4);
  const size_t cuts[] = {1, 2, 3};
  const double even[] = {1, 1, 1, 1}, first_heavy[] = {3, 1, 1, 1};
  const double same[] = {1, 1}, second_slow[] = {1, 3};
  EXPECT_THAT(BalancedRanges(graph, cuts, even, same),
              ElementsAre(NodeRange{0, 2}, NodeRange{2, 4}));
  EXPECT_THAT(BalancedRanges(graph, cuts, first_heavy, same),
              ElementsAre(NodeRange{0, 1}, NodeRange{1, 4}));
  EXPECT_THAT(BalancedRanges(graph, cuts, even, second_slow),
              ElementsAre(NodeRange{0, 3}, NodeRange{3, 4}));
  const double four[] = {1, 1, 1, 1};
  EXPECT_EQ(BalancedRanges(graph, {}, even, four).size(), 1U);
  EXPECT_EQ(BalancedRanges(graph, absl::MakeConstSpan(cuts, 1), even, four).size(), 2U);
}

TEST(SplitLayersTest, SlicesCoverTheOutputsInWholeWords) {
  std::mt19937 random(7);
  for (const bool bits : {true, false}) {
    LoweredKind kind;
    kind.dense = true;
    kind.epilogue = LowBitConvOp::Epilogue::kThresholds;
    kind.bits_out = bits;
    kind.outputs = 200;
    const Graph graph = RandomLowered(kind, random);
    size_t node = 0;
    while (node < graph.nodes.size() && !CanSplit(graph, graph.nodes[node])) ++node;
    ASSERT_LT(node, graph.nodes.size());
    const ValueId id = graph.nodes[node].outputs[0];
    const int64_t outputs = graph.value(id).shape[1];
    for (int parts = 1; parts <= 8; ++parts) {
      const std::vector<GraphPart> slices = SlicesOf({graph, {}}, node, parts);
      const int64_t unit = bits ? 64 : 16;
      EXPECT_EQ(slices.size(),
                static_cast<size_t>(std::min<int64_t>(parts, (outputs + unit - 1) / unit)));
      int64_t next_byte = 0, next_channel = 0;
      for (const GraphPart& slice : slices) {
        EXPECT_EQ(next_channel % unit, 0);
        next_channel += slice.graph.value(id).shape[1];
        EXPECT_EQ(slice.outputs[0].slice.offset, next_byte);
        next_byte += slice.outputs[0].slice.bytes;
      }
      EXPECT_EQ(next_channel, outputs);
      EXPECT_EQ(next_byte, HandedRowBytes(graph.value(id)));
    }
  }
}

TEST(SplitLayersTest, SmallAndGroupedLayersStayWhole) {
  std::mt19937 random(8);
  LoweredKind kind;
  kind.depthwise = true;
  const Graph depthwise = RandomLowered(kind, random);
  for (const Node& node : depthwise.nodes) {
    const auto* conv = std::get_if<LowBitConvOp>(&node.lowered);
    if (conv == nullptr || conv->groups == 1) continue;
    EXPECT_FALSE(CanSplit(depthwise, node));
  }
  EXPECT_THAT(LayersToSplit(Line(3), 0.1), IsEmpty());
}

}  // namespace
}  // namespace bitmill
