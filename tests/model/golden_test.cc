// Every shipped and every shared model through the reader and the reference, against golden
// outputs that an independent evaluator has computed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/npz.h"
#include "model/onnx/onnx_reader.h"
#include "model/reference.h"

namespace bitmill {
namespace {

namespace fs = std::filesystem;

struct GoldenCase {
  std::string name;
  fs::path model, golden;
};

const fs::path kSource = BITMILL_SOURCE_DIR;

std::vector<GoldenCase> ShippedModels() {
  std::vector<GoldenCase> cases;
  for (const auto& entry : fs::directory_iterator(kSource / "models" / "repository")) {
    const std::string name = entry.path().filename();
    cases.push_back(
        {name, entry.path() / "1" / "model.onnx", kSource / "models" / "golden" / (name + ".npz")});
  }
  return cases;
}

std::vector<GoldenCase> SharedModels() {
  std::vector<GoldenCase> cases;
  const fs::path folder = kSource / ".." / "shared" / "models";
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".onnx") continue;
    const std::string name = entry.path().stem();
    cases.push_back({name, entry.path(), folder / "golden" / (name + ".npz")});
  }
  std::sort(cases.begin(), cases.end(),
            [](const GoldenCase& a, const GoldenCase& b) { return a.name < b.name; });
  return cases;
}

size_t ArgMax(absl::Span<const float> values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

// Runs the first rows of the golden file, all of them unless the network is slow.
void CheckGolden(const GoldenCase& golden) {
  SCOPED_TRACE(golden.name);
  const auto bytes = ReadFile(golden.model);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto graph = ReadOnnx(*bytes, golden.name);
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto arrays = ReadNpz(golden.golden);
  ASSERT_TRUE(arrays.ok()) << arrays.status();
  ASSERT_TRUE(arrays->contains("x") && arrays->contains("y") && arrays->contains("atol"));
  const Tensor& x = arrays->at("x");
  const Tensor& y = arrays->at("y");
  const Tensor& atol = arrays->at("atol");
  const double tolerance = atol.dtype() == DType::kFloat64
                               ? atol.span<double>()[0]
                               : static_cast<double>(atol.span<float>()[0]);
  ASSERT_EQ(graph->inputs.size(), 1U);
  ASSERT_EQ(graph->outputs.size(), 1U);
  const Value& input = graph->value(graph->inputs[0].value);
  const Value& output = graph->value(graph->outputs[0].value);
  const int64_t rows = x.shape()[0];
  const int64_t in_size = ElementCount(input.shape);
  const auto out_size = static_cast<size_t>(ElementCount(output.shape));
  ASSERT_EQ(x.elements(), rows * in_size);
  ASSERT_EQ(y.elements(), rows * static_cast<int64_t>(out_size));

  // The float sums of a large network are added in another order than the evaluator's.
  double largest_gap = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const TensorView view{DType::kFloat32, input.shape, x.span<float>().data() + row * in_size};
    const auto outputs = RunReference(*graph, {view});
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    const absl::Span<const float> got = outputs->at(0).span<float>();
    const absl::Span<const float> wanted =
        y.span<float>().subspan(static_cast<size_t>(row) * out_size, out_size);
    for (size_t i = 0; i < out_size; ++i) {
      const double gap = std::abs(static_cast<double>(got[i]) - static_cast<double>(wanted[i]));
      ASSERT_LE(gap, tolerance) << "row " << row << " output " << i << ": " << got[i] << ", wanted "
                                << wanted[i];
      largest_gap = std::max(largest_gap, gap);
    }
    EXPECT_EQ(ArgMax(got), ArgMax(wanted)) << "row " << row;
  }
  std::cout << golden.name << ": " << rows << " rows, largest gap " << largest_gap << " of "
            << tolerance << "\n";
}

TEST(GoldenTest, ShippedModelsMatchTheirGoldenOutputs) {
  const auto cases = ShippedModels();
  ASSERT_GE(cases.size(), 5U);
  for (const GoldenCase& golden : cases) CheckGolden(golden);
}

TEST(GoldenTest, SharedModelsMatchTheirGoldenOutputs) {
  const auto cases = SharedModels();
  if (cases.empty()) GTEST_SKIP() << "no folder shared/models beside the source tree";
  for (const GoldenCase& golden : cases) CheckGolden(golden);
}

TEST(GoldenTest, ShippedModelsAreBatchable) {
  for (const GoldenCase& golden : ShippedModels()) {
    const auto bytes = ReadFile(golden.model);
    ASSERT_TRUE(bytes.ok());
    const auto graph = ReadOnnx(*bytes, golden.name);
    ASSERT_TRUE(graph.ok()) << graph.status();
    EXPECT_TRUE(graph->batchable) << golden.name;
    EXPECT_EQ(graph->inputs[0].declared_shape[0], -1) << golden.name;
    EXPECT_EQ(graph->outputs[0].declared_shape, (std::vector<int64_t>{-1, 10})) << golden.name;
  }
}

}  // namespace
}  // namespace bitmill
