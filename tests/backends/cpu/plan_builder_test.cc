// What the plan builder refuses, and what it decides about memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/plan.h"
#include "model/passes/check_lowered.h"
#include "tests/backends/cpu/plan_runner.h"

namespace bitmill {
namespace {

using testing::HasSubstr;
using testing::Not;

ValueId AddValue(Graph& graph, const Shape& shape, const CodeInfo& code = {}) {
  Value value;
  value.dtype = DType::kFloat32;
  value.shape = shape;
  value.code = code;
  return graph.AddValue(std::move(value));
}

void AddNode(Graph& graph, const char* name, LoweredOp op, ValueId input, ValueId output) {
  Node node;
  node.name = name;
  node.op = name;
  node.inputs = {input};
  node.outputs = {output};
  node.lowered = std::move(op);
  graph.nodes.push_back(std::move(node));
}

Graph GraphOf(const Shape& shape) {
  Graph graph;
  graph.batchable = true;
  graph.inputs.push_back({AddValue(graph, shape), "x", DType::kFloat32, {}});
  return graph;
}

constexpr CodeInfo kBits{CodeKind::kBits, 1.0F, 0, 2};

SharedTensor Ones(const Shape& shape) {
  auto weights = std::make_shared<Tensor>(*Tensor::Create(DType::kInt8, shape));
  for (int8_t& w : weights->span<int8_t>()) w = 1;
  return weights;
}

LowBitConvOp FloatConvOf(const Shape& kernel) {
  LowBitConvOp op;
  op.weights = Ones(kernel);
  op.scale.assign(static_cast<size_t>(kernel[0]), 1.0F);
  op.bias.assign(static_cast<size_t>(kernel[0]), 0.0F);
  return op;
}

QuantizeOp SignOp() {
  QuantizeOp op;
  op.quantizer.code = kBits;
  op.bit_thresholds = {0.0F};
  op.bit_invert = {0};
  return op;
}

// sign -> convolution over [1,8,4,4] -> float.
Graph ConvGraph(const LowBitConvOp& op, const Shape& output) {
  Graph graph = GraphOf({1, 8, 4, 4});
  const ValueId bits = AddValue(graph, {1, 8, 4, 4}, kBits);
  const ValueId result = AddValue(graph, output);
  AddNode(graph, "sign", SignOp(), graph.inputs[0].value, bits);
  AddNode(graph, "conv", op, bits, result);
  graph.outputs.push_back({result, "y", DType::kFloat32, {}});
  return graph;
}

TEST(PlanBuilderTest, ErrorsNameTheNode) {
  const auto executable =
      CompileLowered(ConvGraph(FloatConvOf({3, 5, 1, 1}), {1, 3, 4, 4}), "ref", 1);
  ASSERT_EQ(executable.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(executable.status().message()), HasSubstr("conv"));
  EXPECT_THAT(std::string(executable.status().message()), HasSubstr("[3,5,1,1]"));
}

TEST(PlanBuilderTest, WeightsOutsideTheirBitsAreRefused) {
  LowBitConvOp op = FloatConvOf({3, 8, 1, 1});
  auto weights = std::make_shared<Tensor>(op.weights->Clone());
  weights->span<int8_t>()[4] = 0;
  op.weights = weights;
  EXPECT_EQ(CompileLowered(ConvGraph(op, {1, 3, 4, 4}), "ref", 1).status().code(),
            absl::StatusCode::kInternal);
}

// [64][256][3][3] whose input channels 0, step, 2 * step ... below `end` are not zero.
LowBitConvOp PrunedConv(int64_t end, int64_t step) {
  const Shape kernel = {64, 256, 3, 3};
  LowBitConvOp op = FloatConvOf(kernel);
  op.weight_bits = 2;
  op.ternary = true;
  auto weights = std::make_shared<Tensor>(*Tensor::Create(DType::kInt8, kernel));
  int64_t i = 0;
  for (int8_t& w : weights->span<int8_t>()) {
    const int64_t channel = i++ / 9 % 256;
    w = channel < end && channel % step == 0 ? 1 : 0;
  }
  op.weights = weights;
  return op;
}

Graph PrunedGraph(int64_t end, int64_t step, bool bits) {
  Graph graph = GraphOf({1, 256, 8, 8});
  QuantizeOp quantize = SignOp();
  if (!bits) {
    quantize = QuantizeOp();
    quantize.quantizer.code = {CodeKind::kUInt8, 1.0F, 0, 256};
  }
  const CodeInfo code = quantize.quantizer.code;
  const ValueId input = AddValue(graph, {1, 256, 8, 8}, code);
  const ValueId result = AddValue(graph, {1, 64, 6, 6});
  AddNode(graph, "quantize", std::move(quantize), graph.inputs[0].value, input);
  AddNode(graph, "conv", PrunedConv(end, step), input, result);
  graph.outputs.push_back({result, "y", DType::kFloat32, {}});
  return graph;
}

TEST(PlanBuilderTest, PrunedWeightsAreStoredSparseWhereThatPays) {
  for (const std::string& isa : IsasToTest()) {
    if (isa == "neon") continue;  // takes dense weights only
    for (const bool bits : {true, false}) {
      if (isa == "amx" && !bits)
        continue;  // tiles of all weights are faster than a quarter of them
      SCOPED_TRACE(testing::Message() << isa << (bits ? " bits" : " codes"));
      const auto pruned = CompileLowered(PrunedGraph(64, 1, bits), isa, 1);
      ASSERT_TRUE(pruned.ok()) << pruned.status();
      EXPECT_THAT((*pruned)->DescribePlan(), HasSubstr(" sparse 25 %"));
      const auto whole = CompileLowered(PrunedGraph(256, 1, bits), isa, 1);
      ASSERT_TRUE(whole.ok()) << whole.status();
      EXPECT_THAT((*whole)->DescribePlan(), Not(HasSubstr("sparse")));
    }
  }
}

TEST(PlanBuilderTest, ChannelsThatNoOutputReadsAreLeftOut) {
  for (const bool bits : {true, false}) {
    const auto executable = CompileLowered(PrunedGraph(256, 3, bits), "auto", 1);
    ASSERT_TRUE(executable.ok()) << executable.status();
    EXPECT_THAT((*executable)->DescribePlan(), HasSubstr(" 86 of 256"));
  }
}

TEST(PlanBuilderTest, NegativePaddingIsRefused) {
  LowBitConvOp op = FloatConvOf({3, 8, 1, 1});
  op.pad_top = -1;
  EXPECT_EQ(CompileLowered(ConvGraph(op, {1, 3, 3, 4}), "ref", 1).status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(PlanBuilderTest, PaddingOfAbsurdSizeIsRefused) {
  LowBitConvOp op = FloatConvOf({3, 8, 1, 1});
  op.pad_top = int64_t{1} << 33;
  EXPECT_EQ(CompileLowered(ConvGraph(op, {1, 3, 4, 4}), "ref", 1).status().code(),
            absl::StatusCode::kResourceExhausted);
}

// What a plan file may say: products of such numbers wrap around, some to what is expected.
TEST(PlanBuilderTest, NumbersWhoseProductsOverflowAreRefused) {
  constexpr int64_t kWrapsToOne = (int64_t{1} << 61) + 1;  // times 8 is 8
  for (const int64_t huge : {kWrapsToOne, INT64_MAX}) {
    LowBitConvOp op = FloatConvOf({3, 8, 1, 1});
    op.groups = huge;
    EXPECT_FALSE(CheckLowered(ConvGraph(op, {1, 3, 4, 4})).ok());
    EXPECT_FALSE(CompileLowered(ConvGraph(op, {1, 3, 4, 4}), "ref", 1).ok());
    for (int64_t FloatConvOp::*const field : {&FloatConvOp::groups, &FloatConvOp::stride_h,
                                              &FloatConvOp::dilation_w, &FloatConvOp::pad_left}) {
      FloatConvOp conv;
      conv.weights = std::make_shared<Tensor>(*Tensor::Create(DType::kFloat32, {3, 8, 1, 1}));
      conv.*field = huge;
      Graph graph = GraphOf({1, 8, 4, 4});
      const ValueId result = AddValue(graph, {1, 3, 4, 4});
      AddNode(graph, "conv", conv, graph.inputs[0].value, result);
      graph.outputs.push_back({result, "y", DType::kFloat32, {}});
      const absl::Status status = CompileLowered(graph, "avx2", 1).status();
      EXPECT_FALSE(status.ok()) << huge;
      EXPECT_THAT(std::string(status.message()), HasSubstr("conv")) << huge;
    }
  }
}

TEST(PlanBuilderTest, LayersOfAbsurdWorkAreRefused) {
  LowBitConvOp op = FloatConvOf({3, 8, 1, 1});
  op.weights = std::make_shared<const Tensor>(
      *Tensor::WithoutElements(DType::kInt8, {3, 8, int64_t{1} << 17, int64_t{1} << 17}));
  const absl::Status status = CompileLowered(ConvGraph(op, {1, 3, 1024, 1024}), "ref", 1).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("2^48"));
}

// sign -> pooling of [1,8,4,4] -> float.
Graph PoolGraph(const LowBitMaxPoolOp& pool, const Shape& output) {
  Graph graph = GraphOf({1, 8, 4, 4});
  const ValueId bits = AddValue(graph, {1, 8, 4, 4}, kBits);
  const ValueId pooled = AddValue(graph, output, kBits);
  const ValueId result = AddValue(graph, output);
  AddNode(graph, "sign", SignOp(), graph.inputs[0].value, bits);
  AddNode(graph, "pool", pool, bits, pooled);
  AddNode(graph, "back", DequantizeOp{}, pooled, result);
  graph.outputs.push_back({result, "y", DType::kFloat32, {}});
  return graph;
}

TEST(PlanBuilderTest, PoolingWindowInThePaddingIsRefused) {
  LowBitMaxPoolOp pool;
  pool.pad_top = 1;  // of a window of one pixel
  const auto executable = CompileLowered(PoolGraph(pool, {1, 8, 5, 4}), "ref", 1);
  ASSERT_EQ(executable.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(executable.status().message()), HasSubstr("pool"));
}

// What a plan file may say.
TEST(PlanBuilderTest, PoolingWindowsBeyond32BitsAreRefused) {
  constexpr int64_t kHuge = int64_t{1} << 30;
  LowBitMaxPoolOp pool;
  pool.kernel_h = 4;
  pool.dilation_h = kHuge;
  EXPECT_FALSE(CompileLowered(PoolGraph(pool, {1, 8, 4, 4}), "ref", 1).ok());
  pool.dilation_h = 1;
  pool.kernel_h = kHuge;  // fits, and is as quick as any: all taps but four lie outside
  const auto executable = CompileLowered(PoolGraph(pool, {1, 8, 4, 4}), "ref", 1);
  ASSERT_TRUE(executable.ok()) << executable.status();
  EXPECT_TRUE(RunRows(**executable, {RowBytes{std::vector<std::byte>(8 * 16 * 4)}}, 1).ok());
}

TEST(PlanBuilderTest, OnlyLoweredOperationsMakeCodes) {
  Graph graph = GraphOf({1, 8, 4, 4});
  const ValueId result = AddValue(graph, {1, 8, 4, 4});
  AddNode(graph, "Relu", std::monostate(), graph.inputs[0].value, result);
  graph.outputs.push_back({result, "y", DType::kFloat32, {}});
  EXPECT_TRUE(CheckLowered(graph).ok()) << CheckLowered(graph);
  for (const ValueId coded : {graph.inputs[0].value, result}) {
    Graph wrong = graph;
    wrong.values[static_cast<size_t>(coded)].code = kBits;
    EXPECT_FALSE(CheckLowered(wrong).ok());
  }
}

// Buffers are as large as the types say; what is computed is float32 or codes.
TEST(PlanBuilderTest, FloatsInValuesOfOtherTypesAreRefused) {
  const std::vector<Graph> graphs = {ConvGraph(FloatConvOf({3, 8, 1, 1}), {1, 3, 4, 4}),
                                     PoolGraph({}, {1, 8, 4, 4})};
  for (Graph graph : graphs) {
    EXPECT_TRUE(CheckLowered(graph).ok()) << CheckLowered(graph);
    graph.values[static_cast<size_t>(graph.outputs[0].value)].dtype = DType::kInt8;
    EXPECT_FALSE(CheckLowered(graph).ok());
  }
  for (const bool input : {true, false}) {
    Graph graph = GraphOf({1, 8, 4, 4});
    const ValueId result = AddValue(graph, {1, 8, 4, 4});
    AddNode(graph, "chain", ElementwiseOp{}, graph.inputs[0].value, result);
    graph.outputs.push_back({result, "y", DType::kFloat32, {}});
    EXPECT_TRUE(CheckLowered(graph).ok()) << CheckLowered(graph);
    graph.values[static_cast<size_t>(input ? graph.inputs[0].value : result)].dtype = DType::kInt64;
    EXPECT_FALSE(CheckLowered(graph).ok());
  }
}

// Between the parts of a divided model (backends/coded_port.h).
TEST(PlanBuilderTest, OutputsThatHoldBitsAreWholeWords) {
  Graph graph = GraphOf({1, 10});
  const ValueId bits = AddValue(graph, {1, 10}, kBits);
  AddNode(graph, "sign", SignOp(), graph.inputs[0].value, bits);
  graph.outputs.push_back({bits, "y", DType::kFloat32, {}});
  const auto prepared = CreateCpuBackend()->PrepareLowered(graph, {});
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  const auto executable = (*prepared)->MakeExecutable({});
  ASSERT_TRUE(executable.ok()) << executable.status();
  const float values[10] = {-1, 1, 1, -1, -1, 1, 1, 1, 1, -1};
  RowBytes row(1);
  row[0].resize(sizeof(values));
  std::memcpy(row[0].data(), values, sizeof(values));
  const auto actual = RunRows(**executable, std::vector<RowBytes>(1, row), 1);
  ASSERT_TRUE(actual.ok()) << actual.status();
  ASSERT_EQ((*actual)[0][0].size(), sizeof(uint64_t));
  uint64_t word = 0;
  std::memcpy(&word, (*actual)[0][0].data(), sizeof(word));
  EXPECT_EQ(word, 0b1000011001U);
}

TEST(PlanBuilderTest, ValuesThatDieShareTheArena) {
  Graph graph = GraphOf({1, 1024});
  ValueId value = graph.inputs[0].value;
  for (int i = 0; i < 20; ++i) {
    const ValueId bits = AddValue(graph, {1, 1024}, kBits);
    const ValueId real = AddValue(graph, {1, 1024});
    AddNode(graph, "sign", SignOp(), value, bits);
    AddNode(graph, "back", DequantizeOp{}, bits, real);
    value = real;
  }
  graph.outputs.push_back({value, "y", DType::kFloat32, {}});
  const auto executable = CompileLowered(graph, "ref", 1);
  ASSERT_TRUE(executable.ok()) << executable.status();
  EXPECT_LE((*executable)->arena_bytes(), 2 * 4096 + 2 * 128);
}

TEST(PlanBuilderTest, ChunksStayWithinTheCacheBudget) {
  const Graph small = ConvGraph(FloatConvOf({3, 8, 1, 1}), {1, 3, 4, 4});
  const auto many = CompileLowered(small, "ref", 1000);
  ASSERT_TRUE(many.ok()) << many.status();
  EXPECT_LE((*many)->arena_bytes(), 256 * 1024);
  EXPECT_EQ((*many)->max_rows(), 1000);
}

Node OnnxNode(const char* op, std::vector<ValueId> inputs, ValueId output) {
  Node node;
  node.name = op;
  node.op = op;
  node.inputs = std::move(inputs);
  node.outputs = {output};
  return node;
}

TEST(PlanBuilderTest, InputsLoadedOneAfterTheOtherDoNotOverwriteEachOther) {
  for (const char* const op : {"Sub", "Concat"}) {
    Graph graph = GraphOf({1, 100});
    graph.opset = 13;
    graph.inputs.push_back({AddValue(graph, {1, 100}), "z", DType::kFloat32, {}});
    const bool joins = std::string(op) == "Concat";
    const ValueId result = AddValue(graph, {1, joins ? 200 : 100});
    graph.nodes.push_back(OnnxNode(op, {graph.inputs[0].value, graph.inputs[1].value}, result));
    if (joins) graph.nodes.back().attributes["axis"] = int64_t{1};
    graph.outputs.push_back({result, "y", DType::kFloat32, {}});
    const auto executable = CompileLowered(graph, "ref", 4);
    ASSERT_TRUE(executable.ok()) << executable.status();
    RowBytes row;
    for (const float value : {5.0F, 3.0F}) {
      const std::vector<float> values(100, value);
      const auto* const bytes = reinterpret_cast<const std::byte*>(values.data());
      row.emplace_back(bytes, bytes + 400);
    }
    const auto actual = RunRows(**executable, std::vector<RowBytes>(4, row), 4, 1);
    ASSERT_TRUE(actual.ok()) << actual.status();
    std::vector<float> values(joins ? 200 : 100);
    std::memcpy(values.data(), (*actual)[3][0].data(), values.size() * sizeof(float));
    EXPECT_EQ(values.front(), joins ? 5.0F : 2.0F) << op;
    EXPECT_EQ(values.back(), joins ? 3.0F : 2.0F) << op;
  }
}

// Two convolutions of one input, added: everything between stays channels innermost.
TEST(PlanBuilderTest, ShortcutsAreAddedWhereTheyLie) {
  Graph graph = GraphOf({1, 8, 4, 4});
  const ValueId bits = AddValue(graph, {1, 8, 4, 4}, kBits);
  AddNode(graph, "sign", SignOp(), graph.inputs[0].value, bits);
  const ValueId left = AddValue(graph, {1, 3, 4, 4});
  const ValueId right = AddValue(graph, {1, 3, 4, 4});
  AddNode(graph, "left", FloatConvOf({3, 8, 1, 1}), bits, left);
  LowBitConvOp op = FloatConvOf({3, 8, 1, 1});
  op.bias = {10.0F, 20.0F, 30.0F};
  AddNode(graph, "right", op, bits, right);
  const ValueId sum = AddValue(graph, {1, 3, 4, 4});
  graph.nodes.push_back(OnnxNode("Add", {left, right}, sum));
  const ValueId result = AddValue(graph, {1, 3, 4, 4}, kBits);
  QuantizeOp sign = SignOp();
  sign.bit_thresholds = {0.0F, 20.0F, 40.0F};
  sign.bit_invert = {0, 0, 0};
  AddNode(graph, "sign2", sign, sum, result);
  const ValueId real = AddValue(graph, {1, 3, 4, 4});
  AddNode(graph, "back", DequantizeOp{}, result, real);
  graph.outputs.push_back({real, "y", DType::kFloat32, {}});
  const auto executable = CompileLowered(graph, "auto", 3);
  ASSERT_TRUE(executable.ok()) << executable.status();
  EXPECT_THAT((*executable)->DescribePlan(), HasSubstr("elementwise"));

  // One pixel of all +1 sums to 2 * 8 + bias, every other (all -1) to -2 * 8 + bias.
  std::vector<float> values(8 * 16, -1.0F);
  for (size_t c = 0; c < 8; ++c) values[c * 16 + 5] = 1.0F;
  const auto* const bytes = reinterpret_cast<const std::byte*>(values.data());
  const std::vector<RowBytes> rows(3, {{bytes, bytes + values.size() * sizeof(float)}});
  const auto actual = RunRows(**executable, rows, 3);
  ASSERT_TRUE(actual.ok()) << actual.status();
  std::vector<float> output(3 * 16);
  std::memcpy(output.data(), (*actual)[2][0].data(), output.size() * sizeof(float));
  const float kSums[2][3] = {{-16.0F + 10.0F, -16.0F + 20.0F, -16.0F + 30.0F},
                             {16.0F + 10.0F, 16.0F + 20.0F, 16.0F + 30.0F}};
  for (size_t c = 0; c < 3; ++c) {
    for (size_t p = 0; p < 16; ++p) {
      const float expected = kSums[p == 5 ? 1 : 0][c] >= sign.bit_thresholds[c] ? 1.0F : -1.0F;
      ASSERT_EQ(output[c * 16 + p], expected) << c << " " << p;
    }
  }
}

TEST(PlanBuilderTest, EmptyTensorsAreRefused) {
  Graph graph = GraphOf({1, 0});
  const ValueId bits = AddValue(graph, {1, 0}, kBits);
  const ValueId real = AddValue(graph, {1, 0});
  AddNode(graph, "sign", SignOp(), graph.inputs[0].value, bits);
  AddNode(graph, "back", DequantizeOp{}, bits, real);
  graph.outputs.push_back({real, "y", DType::kFloat32, {}});
  EXPECT_EQ(CompileLowered(graph, "ref", 1).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace bitmill
