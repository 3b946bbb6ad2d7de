// Every dense float kernel: the sum as it is defined, bit for bit.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "kernels/fdense/fdense_table.h"
#include "tests/kernels/guarded.h"

namespace bitmill::test {
namespace {

struct Problem {
  int64_t elements, channels;
  std::vector<std::vector<float>> rows;
  std::vector<float> weights, bias;
};

Problem RandomProblem(std::mt19937& random) {
  std::normal_distribution<float> normal;
  Problem problem;
  problem.elements = static_cast<int64_t>(random() % 2 == 0 ? random() % 20 : random() % 700);
  problem.channels = 1 + static_cast<int64_t>(random() % 200);
  problem.rows.resize(1 + random() % kFdenseRows);
  for (std::vector<float>& row : problem.rows) {
    row.resize(static_cast<size_t>(problem.elements));
    for (float& value : row) value = normal(random);
  }
  problem.weights.resize(static_cast<size_t>(problem.elements * problem.channels));
  for (float& value : problem.weights) value = normal(random);
  if (random() % 2 == 0) {
    problem.bias.resize(static_cast<size_t>(problem.channels));
    for (float& value : problem.bias) value = normal(random);
  }
  return problem;
}

float Defined(const Problem& problem, size_t row, int64_t channel) {
  volatile float total = 0.0F, part = 0.0F;  // each operation rounds
  for (int64_t e = 0; e < problem.elements; ++e) {
    volatile float product = problem.rows[row][static_cast<size_t>(e)] *
                             problem.weights[static_cast<size_t>(channel * problem.elements + e)];
    part = part + product;
    if ((e + 1) % kFdenseSection == 0 || e + 1 == problem.elements) {
      total = total + part;
      part = 0.0F;
    }
  }
  return problem.bias.empty() ? total : total + problem.bias[static_cast<size_t>(channel)];
}

TEST(FdenseTest, AllKernelsGiveTheDefinedSums) {
  static GuardedRegion regions[2 * kFdenseRows + 2];
  std::mt19937 random(3);
  for (int round = 0; round < 80; ++round) {
    const Problem problem = RandomProblem(random);
    std::vector<float> packed(
        static_cast<size_t>(PackedFdenseFloats(problem.channels, problem.elements)));
    PackFdenseWeights(problem.weights.data(), problem.channels, problem.elements, packed.data());
    int count = 0;
    const FdenseKernel* const kernels = FdenseKernels(&count);
    for (int k = 0; k < count; ++k) {
      if (!IsaAllows(BestIsa(), kernels[k].isa)) continue;
      const float* inputs[kFdenseRows];
      float* outputs[kFdenseRows];
      for (size_t r = 0; r < problem.rows.size(); ++r) {
        inputs[r] = regions[r].PlaceCopy(problem.rows[r], Flush::kBack);
        outputs[r] = regions[kFdenseRows + r].Place<float>(static_cast<size_t>(problem.channels),
                                                           Flush::kBack);
      }
      FdenseArgs args = {};
      args.inputs = inputs;
      args.outputs = outputs;
      args.rows = static_cast<int32_t>(problem.rows.size());
      args.elements = problem.elements;
      args.channels = problem.channels;
      args.weights = regions[2 * kFdenseRows].PlaceCopy(packed, Flush::kBack);
      if (!problem.bias.empty()) {
        args.bias = regions[2 * kFdenseRows + 1].PlaceCopy(problem.bias, Flush::kBack);
      }
      kernels[k].run(args);
      for (size_t r = 0; r < problem.rows.size(); ++r) {
        for (int64_t o = 0; o < problem.channels; ++o) {
          ASSERT_EQ(outputs[r][o], Defined(problem, r, o)) << kernels[k].name << ", channel " << o;
        }
      }
    }
  }
}

TEST(FdenseTableTest, SelectsTheBestAllowed) {
  EXPECT_STREQ(SelectFdense(Isa::kRef).name, "fdense");
  int count = 0;
  const FdenseKernel* const kernels = FdenseKernels(&count);
  for (int i = 0; i < count; ++i) {
    EXPECT_STREQ(SelectFdense(kernels[i].isa).name, kernels[i].name);
  }
}

}  // namespace
}  // namespace bitmill::test
