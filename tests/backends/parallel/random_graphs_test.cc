// Random lowered graphs, divided everywhere: the bits of the whole graph.
#include <gtest/gtest.h>

#include <random>

#include "backends/parallel/split_layers.h"
#include "tests/backends/cpu/random_lowered.h"
#include "tests/backends/parallel/dividing.h"
#include "tests/support/effort.h"

namespace bitmill {
namespace {

using Epilogue = LowBitConvOp::Epilogue;

TEST(DividedGraphsTest, LowBitLayersOfEveryKindGiveTheBitsOfTheWholeGraph) {
  std::mt19937 random(41);
  size_t divided = 0;
  for (const bool bits_in : {true, false}) {
    for (const int weight_bits : {1, 2, 8}) {
      for (const Epilogue epilogue :
           {Epilogue::kFloat, Epilogue::kThresholds, Epilogue::kRequantize}) {
        for (const bool bits_out : {true, false}) {
          if (epilogue != Epilogue::kThresholds && bits_out) continue;
          for (int i = 0; i < 3; ++i) {
            LoweredKind kind;
            kind.bits_in = bits_in;
            kind.weight_bits = weight_bits;
            kind.ternary = weight_bits == 2 && i == 0;
            kind.epilogue = epilogue;
            kind.bits_out = bits_out;
            kind.dense = i == 1;
            if (i == 1) kind.outputs = 200;
            const Graph graph = RandomLowered(kind, random);
            for (const Node& node : graph.nodes) divided += CanSplit(graph, node) ? 1 : 0;
            SCOPED_TRACE(testing::Message() << "bits in " << bits_in << ", weights of "
                                            << weight_bits << ", graph " << i);
            CheckDivisions(graph, random);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
  EXPECT_GE(divided, 40U);
}

TEST(DividedGraphsTest, ResidualNetworksGiveTheBitsOfTheWholeGraph) {
  std::mt19937 random(42);
  for (int i = 0; i < 12; ++i) {
    SCOPED_TRACE(testing::Message() << "graph " << i);
    CheckDivisions(RandomResidual(random), random);
    if (HasFatalFailure()) return;
  }
}

TEST(DividedGraphsTest, PoolsAndFloatLayersGiveTheBitsOfTheWholeGraph) {
  std::mt19937 random(43);
  for (int i = 0; i < 10; ++i) {
    SCOPED_TRACE(testing::Message() << "graph " << i);
    CheckDivisions(RandomPooling(i % 2 == 0, random), random);
    CheckDivisions(RandomFloat(i % 2 == 0, random), random);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace bitmill
