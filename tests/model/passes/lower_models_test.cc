// Every shipped and every shared model, lowered: golden outputs, the outputs of the reference, and
// no float value where the network is quantized.
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
#include "model/passes/lowered_reference.h"
#include "model/passes/passes.h"
#include "model/reference.h"
#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = BITMILL_SOURCE_DIR;

struct ModelCase {
  std::string name;
  fs::path model, golden;
};

std::vector<ModelCase> ShippedModels() {
  std::vector<ModelCase> cases;
  for (const auto& entry : fs::directory_iterator(kSource / "models" / "repository")) {
    const std::string name = entry.path().filename();
    cases.push_back(
        {name, entry.path() / "1" / "model.onnx", kSource / "models" / "golden" / (name + ".npz")});
  }
  return cases;
}

std::vector<ModelCase> SharedModels() {
  std::vector<ModelCase> cases;
  const fs::path folder = kSource / ".." / "shared" / "models";
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".onnx") continue;
    const std::string name = entry.path().stem();
    cases.push_back({name, entry.path(), folder / "golden" / (name + ".npz")});
  }
  return cases;
}

Graph ReadModel(const ModelCase& model) {
  const auto bytes = ReadFile(model.model);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  if (!bytes.ok()) return {};
  auto graph = ReadOnnx(*bytes, model.name);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return graph.ok() ? *std::move(graph) : Graph{};
}

size_t ArgMax(absl::Span<const float> values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

double LargestGap(absl::Span<const float> a, absl::Span<const float> b) {
  double gap = a.size() == b.size() ? 0.0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    gap = std::max(gap, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return gap;
}

// The interpreters are slow: so many rows, and of these the first against the reference too.
constexpr int64_t kRows = 6;
constexpr int64_t kReferenceRows = 1;

void CheckModel(const ModelCase& model) {
  SCOPED_TRACE(model.name);
  const Graph graph = ReadModel(model);
  const auto lowered = Lower(graph);
  ASSERT_TRUE(lowered.ok()) << lowered.status();
  const auto arrays = ReadNpz(model.golden);
  ASSERT_TRUE(arrays.ok()) << arrays.status();
  const Tensor& x = arrays->at("x");
  const Tensor& y = arrays->at("y");
  const Tensor& atol = arrays->at("atol");
  const double tolerance = atol.dtype() == DType::kFloat64
                               ? atol.span<double>()[0]
                               : static_cast<double>(atol.span<float>()[0]);
  const Value& input = lowered->value(lowered->inputs[0].value);
  const int64_t rows = std::min(kRows, x.shape()[0]);
  const auto out_size = static_cast<size_t>(y.elements() / y.shape()[0]);
  double largest = 0.0;
  for (int64_t row = 0; row < rows; ++row) {
    const TensorView view{DType::kFloat32, input.shape,
                          x.span<float>().data() + row * ElementCount(input.shape)};
    const auto outputs = RunLoweredReference(*lowered, {view});
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    const absl::Span<const float> got = (*outputs)[0].span<float>();
    const auto wanted = y.span<float>().subspan(static_cast<size_t>(row) * out_size, out_size);
    const double gap = LargestGap(got, wanted);
    largest = std::max(largest, gap);
    ASSERT_LE(gap, tolerance) << "row " << row;
    ASSERT_EQ(ArgMax(got), ArgMax(wanted)) << "row " << row;
    if (row >= kReferenceRows) continue;
    const auto reference = RunReference(graph, {view});
    ASSERT_TRUE(reference.ok()) << reference.status();
    ASSERT_LE(LargestGap(got, (*reference)[0].span<float>()), tolerance) << "row " << row;
  }
  std::cout << model.name << ": " << rows << " rows, largest gap " << largest << " of " << tolerance
            << "\n";
}

// Nothing but codes from the first quantizer to the last layer.
void CheckNoFloatsInside(const ModelCase& model) {
  SCOPED_TRACE(model.name);
  const auto lowered = Lower(ReadModel(model));
  ASSERT_TRUE(lowered.ok()) << lowered.status();
  size_t first = 0;
  while (first < lowered->nodes.size() &&
         !std::holds_alternative<QuantizeOp>(lowered->nodes[first].lowered)) {
    // What comes before the quantizer only reshapes the input.
    EXPECT_TRUE(lowered->nodes[first].op == "Flatten" || lowered->nodes[first].op == "Reshape")
        << lowered->nodes[first].op;
    ++first;
  }
  ASSERT_LT(first + 2, lowered->nodes.size());
  for (size_t n = first; n + 1 < lowered->nodes.size(); ++n) {
    const CodeInfo& code = lowered->value(lowered->nodes[n].outputs[0]).code;
    EXPECT_NE(code.kind, CodeKind::kNone)
        << "node " << n << " of " << ::testing::PrintToString(LoweredOps(*lowered));
  }
  EXPECT_EQ(LoweredOps(*lowered).back(), "conv");
}

bool IsQuantized(const ModelCase& model) { return model.name.find("fp32") == std::string::npos; }

TEST(LowerModelsTest, ShippedModelsKeepTheirOutputs) {
  for (const ModelCase& model : ShippedModels()) CheckModel(model);
}

TEST(LowerModelsTest, SharedModelsKeepTheirOutputs) {
  const auto cases = SharedModels();
  if (cases.empty()) GTEST_SKIP() << "no folder shared/models beside the source tree";
  for (const ModelCase& model : cases) CheckModel(model);
}

TEST(LowerModelsTest, QuantizedModelsHaveNoFloatsInside) {
  std::vector<ModelCase> cases = ShippedModels();
  for (const ModelCase& model : SharedModels()) cases.push_back(model);
  int checked = 0;
  for (const ModelCase& model : cases) {
    if (!IsQuantized(model)) continue;
    CheckNoFloatsInside(model);
    ++checked;
  }
  EXPECT_GE(checked, 4);
}

TEST(LowerModelsTest, BinaryNetworksStayBits) {
  for (const ModelCase& model : ShippedModels()) {
    if (model.name.find("w1a1") == std::string::npos) continue;
    const auto lowered = Lower(ReadModel(model));
    ASSERT_TRUE(lowered.ok()) << lowered.status();
    for (const Node& node : lowered->nodes) {
      const auto* conv = std::get_if<LowBitConvOp>(&node.lowered);
      if (conv == nullptr) continue;
      EXPECT_EQ(conv->weight_bits, 1) << model.name;
      const CodeKind kind = lowered->value(node.outputs[0]).code.kind;
      EXPECT_TRUE(kind == CodeKind::kBits || &node == &lowered->nodes.back()) << model.name;
    }
  }
}

}  // namespace
}  // namespace bitmill
