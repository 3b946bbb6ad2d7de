// Sequences (rank 3, channels last) on the low-bit path: no step of a mixer is left to the
// reference implementations, and its answers are theirs, bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_backend.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

using testing::HasSubstr;
using testing::Not;

// What quantizes the activations of a mixer.
enum class Activation : uint8_t { kInt8, kBits };

struct MixerShape {
  int64_t tokens = 1, channels = 1, hidden = 1;
  Activation activation = Activation::kInt8;
};

std::vector<float> Trits(std::mt19937& random, int64_t count, float scale) {
  std::uniform_int_distribution<int> trit(-1, 1);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = scale * static_cast<float>(trit(random));
  return values;
}

// Multiples of 1/8, so that sums are exact in any order.
std::vector<float> Eighths(std::mt19937& random, int64_t count, int low, int high) {
  std::uniform_int_distribution<int> eighths(low, high);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = static_cast<float>(eighths(random)) / 8.0F;
  return values;
}

class MixerBuilder {
 public:
  explicit MixerBuilder(const MixerShape& shape) : shape_(shape) {}

  // Positions, then two blocks that mix tokens and channels, then the mean over tokens.
  Graph Build() {
    const int64_t tokens = shape_.tokens;
    const int64_t channels = shape_.channels;
    ValueId x = graph_.Input("x", {1, tokens, channels});
    x = graph_.Op("Add", {x, graph_.Constant({1, tokens, channels},
                                             Eighths(random_, tokens * channels, -8, 8))});
    for (int block = 0; block < 2; ++block) {
      ValueId y = Transposed(Affine(x));
      y = Transposed(Perceptron(y, tokens));
      x = graph_.Op("Add", {x, y});
      x = graph_.Op("Add", {x, Perceptron(Affine(x), channels)});
    }
    const ValueId mean =
        graph_.Op("ReduceMean", {x}, {{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t{0}}});
    return graph_.Build({x, mean});
  }

 private:
  ValueId Transposed(ValueId x) {
    return graph_.Op("Transpose", {x}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
  }

  ValueId Affine(ValueId x) {
    x = graph_.Op("Mul",
                  {x, graph_.Constant({shape_.channels}, Eighths(random_, shape_.channels, 4, 8))});
    return graph_.Op(
        "Add", {x, graph_.Constant({shape_.channels}, Eighths(random_, shape_.channels, -2, 2))});
  }

  ValueId Quantized(ValueId x) {
    return shape_.activation == Activation::kBits ? graph_.BipolarQuant(x)
                                                  : graph_.Quant(x, 1.0F / 32, 8, true, true);
  }

  ValueId Perceptron(ValueId x, int64_t width) {
    const int64_t hidden = shape_.hidden;
    x = graph_.Op("MatMul", {Quantized(x), graph_.Constant({width, hidden},
                                                           Trits(random_, width * hidden, 0.25F))});
    x = graph_.Op("Relu", {x});
    return graph_.Op(
        "MatMul",
        {Quantized(x), graph_.Constant({hidden, width}, Trits(random_, width * hidden, 0.125F))});
  }

  MixerShape shape_;
  GraphBuilder graph_;
  std::mt19937 random_{5};
};

std::vector<RowBytes> RandomRows(const Graph& graph, int64_t rows) {
  std::mt19937 random(9);
  const int64_t elements = ElementCount(graph.value(graph.inputs[0].value).shape);
  std::vector<RowBytes> result;
  for (int64_t r = 0; r < rows; ++r) {
    const std::vector<float> values = Eighths(random, elements, -24, 24);
    std::vector<std::byte> bytes(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    result.push_back({std::move(bytes)});
  }
  return result;
}

std::vector<float> Floats(const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

constexpr MixerShape kShapes[] = {
    {16, 32, 64, Activation::kInt8}, {7, 13, 9, Activation::kInt8},
    {1, 24, 8, Activation::kInt8},   {17, 1, 5, Activation::kInt8},
    {16, 64, 64, Activation::kBits}, {11, 67, 19, Activation::kBits},
};

TEST(SequenceTest, NoStepOfAMixerIsLeftToTheReference) {
  for (const MixerShape& shape : kShapes) {
    SCOPED_TRACE(absl::StrCat(shape.tokens, " x ", shape.channels));
    const auto executable = CreateCpuBackend()->Compile(MixerBuilder(shape).Build(), {});
    ASSERT_TRUE(executable.ok()) << executable.status();
    const std::string plan = (*executable)->DescribePlan();
    EXPECT_THAT(plan, Not(HasSubstr("reference")));
    EXPECT_THAT(plan, HasSubstr("conv"));
  }
}

TEST(SequenceTest, MixersGiveTheReferencesBitsForEveryBatchAndInstructionSet) {
  constexpr int64_t kRows = 5;
  for (const MixerShape& shape : kShapes) {
    Graph graph = MixerBuilder(shape).Build();
    graph.batchable = true;
    const std::vector<RowBytes> rows = RandomRows(graph, kRows);
    for (const std::string& isa : IsasToTest()) {
      SCOPED_TRACE(absl::StrCat(isa, ", ", shape.tokens, " x ", shape.channels));
      const auto executable = CreateCpuBackend()->Compile(graph, {.max_rows = kRows, .isa = isa});
      ASSERT_TRUE(executable.ok()) << executable.status();
      for (const int64_t batch : {int64_t{1}, int64_t{3}, kRows}) {
        const auto got = RunRows(**executable, rows, batch, 4);
        ASSERT_TRUE(got.ok()) << got.status();
        for (size_t r = 0; r < rows.size(); ++r) {
          EXPECT_EQ(Floats((*got)[r][0]), RunOriginal(graph, Floats(rows[r][0])))
              << "row " << r << " of batches of " << batch;
        }
      }
    }
  }
}

}  // namespace
}  // namespace bitmill
