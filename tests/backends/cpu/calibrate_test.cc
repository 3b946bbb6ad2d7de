// precision fast as compiled: the same bits everywhere, ranges from samples, and the accuracy of a
// trained network on images that it was not calibrated with.
#include "backends/cpu/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>

#include "backends/cpu/cpu_backend.h"
#include "base/file.h"
#include "base/npz.h"
#include "model/onnx/onnx_reader.h"
#include "model/passes/lowered_reference.h"
#include "tests/backends/cpu/plan_runner.h"

namespace bitmill {
namespace {

using testing::HasSubstr;

constexpr int64_t kPixels = 6 * 7;
constexpr int64_t kChannels = 16;

ValueId AddFloat(Graph& graph, const std::string& name, const Shape& shape) {
  Value value;
  value.name = name;
  value.dtype = DType::kFloat32;
  value.shape = shape;
  return graph.AddValue(std::move(value));
}

// [1,16,6,7] -> convolution, Relu -> convolution -> y: both padded, both large enough for int8.
Graph TwoLayers(std::mt19937& random) {
  std::normal_distribution<float> normal(0.0F, 0.2F);
  Graph graph;
  graph.batchable = true;
  const Shape shape = {1, kChannels, 6, 7};
  const ValueId x = AddFloat(graph, "x", shape);
  const ValueId middle = AddFloat(graph, "middle", shape);
  const ValueId y = AddFloat(graph, "y", shape);
  for (const auto& [from, to] : {std::pair{x, middle}, std::pair{middle, y}}) {
    FloatConvOp op;
    std::vector<float> weights(kChannels * kChannels * 9);
    for (float& w : weights) w = normal(random);
    op.weights = std::make_shared<const Tensor>(
        Tensor::Of<float>(DType::kFloat32, {kChannels, kChannels, 3, 3}, std::move(weights)));
    for (int64_t o = 0; o < kChannels; ++o) op.bias.push_back(normal(random));
    op.pad_top = op.pad_left = op.pad_bottom = op.pad_right = 1;
    if (to == middle) op.chain = {{ChainOp::kRelu, {}, {}}};
    Node node;
    node.name = graph.value(to).name;
    node.op = "Conv";
    node.inputs = {from};
    node.outputs = {to};
    node.lowered = std::move(op);
    graph.nodes.push_back(std::move(node));
  }
  graph.inputs.push_back({x, "x", DType::kFloat32, {}});
  graph.outputs.push_back({y, "y", DType::kFloat32, {}});
  return graph;
}

RowBytes BytesOf(const std::vector<float>& values) {
  RowBytes row(1);
  row[0].resize(values.size() * sizeof(float));
  std::memcpy(row[0].data(), values.data(), row[0].size());
  return row;
}

std::vector<RowBytes> RandomInputs(size_t rows, std::mt19937& random) {
  std::normal_distribution<float> normal(0.0F, 1.0F);
  std::vector<RowBytes> inputs;
  for (size_t r = 0; r < rows; ++r) {
    std::vector<float> values(kChannels * kPixels);
    for (float& x : values) x = normal(random);
    inputs.push_back(BytesOf(values));
  }
  return inputs;
}

SampleRows SamplesOf(absl::Span<const RowBytes> rows) {
  SampleRows samples;
  samples.rows = static_cast<int64_t>(rows.size());
  samples.inputs.resize(1);
  for (const RowBytes& row : rows) {
    samples.inputs[0].append(reinterpret_cast<const char*>(row[0].data()), row[0].size());
  }
  return samples;
}

KernelSet BestKernels() { return *SelectKernels("auto"); }

TEST(CalibrateTest, FastModelsGiveTheBitsOfTheirReferenceInEveryBatchAndInstructionSet) {
  std::mt19937 random(1);
  const Graph graph = TwoLayers(random);
  std::vector<RowBytes> rows = RandomInputs(7, random);
  const auto fast = MakeFast(graph, SamplesOf(rows), BestKernels());
  ASSERT_TRUE(fast.ok()) << fast.status();
  ASSERT_EQ(fast->layers.size(), 2U);
  for (const LayerPrecision& layer : fast->layers) {
    EXPECT_TRUE(layer.int8) << layer.reason;
    EXPECT_GT(layer.error, 0.0);
    EXPECT_LT(layer.error, 0.05);
  }
  // Rows beyond what was seen, and values that are no numbers.
  std::vector<float> strange(kChannels * kPixels, 1e30F);
  strange[3] = std::numeric_limits<float>::quiet_NaN();
  strange[5] = -std::numeric_limits<float>::infinity();
  rows.push_back(BytesOf(strange));

  std::vector<RowBytes> wanted;
  for (const RowBytes& row : rows) {
    const TensorView view{DType::kFloat32, graph.value(graph.inputs[0].value).shape, row[0].data()};
    const auto outputs = RunLoweredReference(fast->graph, absl::MakeConstSpan(&view, 1));
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    const auto values = (*outputs)[0].span<float>();
    wanted.push_back(BytesOf({values.begin(), values.end()}));
  }
  for (const std::string& isa : IsasToTest()) {
    const auto executable = CompileLowered(fast->graph, isa, 8);
    ASSERT_TRUE(executable.ok()) << executable.status();
    for (const int64_t batch : {1, 3, 8}) {
      const auto got = RunRows(**executable, rows, batch, batch == 3 ? 1 : 64);
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_EQ(*got, wanted) << isa << ", batches of " << batch;
    }
  }
}

TEST(CalibrateTest, LaterLayersAreCalibratedOnWhatEarlierInt8LayersGive) {
  std::mt19937 random(2);
  const Graph graph = TwoLayers(random);
  const SampleRows samples = SamplesOf(RandomInputs(4, random));
  const auto best = MakeFast(graph, samples, BestKernels());
  ASSERT_TRUE(best.ok()) << best.status();
  for (const std::string& isa : IsasToTest()) {
    const auto other = MakeFast(graph, samples, *SelectKernels(isa));
    ASSERT_TRUE(other.ok()) << other.status();
    for (size_t i = 0; i < best->layers.size(); ++i) {
      EXPECT_EQ(other->layers[i].used.low, best->layers[i].used.low) << isa;
      EXPECT_EQ(other->layers[i].used.high, best->layers[i].used.high) << isa;
    }
  }
}

TEST(CalibrateTest, ALayerWhoseInputIsAlwaysZeroStaysFloat) {
  std::mt19937 random(3);
  const Graph graph = TwoLayers(random);
  const std::vector<RowBytes> zeros(2, BytesOf(std::vector<float>(kChannels * kPixels)));
  const auto fast = MakeFast(graph, SamplesOf(zeros), BestKernels());
  ASSERT_TRUE(fast.ok()) << fast.status();
  EXPECT_FALSE(fast->layers[0].int8);
  EXPECT_THAT(fast->layers[0].reason, HasSubstr("between 0 and 0 on all samples"));
  EXPECT_THAT(DescribeLayers(fast->layers, fast->rows), HasSubstr("between 0 and 0"));
}

TEST(CalibrateTest, ValuesThatAreNotFiniteDoNotCountAsSeen) {
  std::mt19937 random(4);
  const Graph graph = TwoLayers(random);
  std::vector<float> values(kChannels * kPixels, 0.5F);
  values[0] = std::numeric_limits<float>::quiet_NaN();
  values[1] = std::numeric_limits<float>::infinity();
  values[2] = -2.0F;
  const auto fast = MakeFast(graph, SamplesOf({BytesOf(values)}), BestKernels());
  ASSERT_TRUE(fast.ok()) << fast.status();
  EXPECT_EQ(fast->layers[0].seen.low, -2.0F);
  EXPECT_EQ(fast->layers[0].seen.high, 0.5F);
}

TEST(CalibrateTest, SamplesThatDoNotFitAreRefused) {
  std::mt19937 random(5);
  const Graph graph = TwoLayers(random);
  SampleRows samples = SamplesOf(RandomInputs(2, random));
  EXPECT_THAT(MakeFast(graph, {}, BestKernels()).status().message(),
              HasSubstr("no calibration rows"));
  samples.inputs[0].pop_back();
  const absl::Status status = MakeFast(graph, samples, BestKernels()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("input 'x' has 5375 bytes for 2 rows of 2688"));
  samples.inputs.clear();
  EXPECT_THAT(MakeFast(graph, samples, BestKernels()).status().message(),
              HasSubstr("calibration has 0 inputs, the model 1"));
}

TEST(CalibrateTest, WorkingMemoryIsBounded) {
  std::mt19937 random(5);
  const Graph graph = TwoLayers(random);
  const SampleRows samples = SamplesOf(RandomInputs(2, random));
  const absl::Status status = MakeFast(graph, samples, BestKernels(), 1).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("at most 1 are allowed (the memory budget)"));
  EXPECT_TRUE(MakeFast(graph, samples, BestKernels(), 1 << 24).ok());
}

// The trained network and its images, as the repository ships them.
class FashionTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string root = std::string(BITMILL_SOURCE_DIR) + "/models/";
    const std::string path = root + "repository/fmnist_wide_fp32/1/model.onnx";
    const auto bytes = ReadFile(path);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    auto graph = ReadOnnx(*bytes, path);
    ASSERT_TRUE(graph.ok()) << graph.status();
    graph_ = *std::move(graph);
    const auto arrays = ReadNpz(root + "data/fashion_mnist_test_1000.npz");
    ASSERT_TRUE(arrays.ok()) << arrays.status();
    const auto pixels = arrays->at("images").span<uint8_t>();
    const auto labels = arrays->at("labels").span<int64_t>();
    labels_.assign(labels.begin(), labels.end());
    const size_t size = pixels.size() / labels_.size();
    for (size_t r = 0; r < labels_.size(); ++r) {
      images_.push_back(BytesOf({pixels.begin() + static_cast<ptrdiff_t>(r * size),
                                 pixels.begin() + static_cast<ptrdiff_t>((r + 1) * size)}));
    }
  }

  std::unique_ptr<Executable> Compile(const SampleRows* samples, const std::string& isa = "auto") {
    CompileOptions options;
    options.max_rows = 32;
    options.isa = isa;
    if (samples != nullptr) {
      options.precision = Precision::kFast;
      options.calibration = std::make_shared<const SampleRows>(*samples);
    }
    auto executable = CreateCpuBackend()->Compile(graph_, options);
    EXPECT_TRUE(executable.ok()) << executable.status();
    return executable.ok() ? *std::move(executable) : nullptr;
  }

  int64_t CountRight(const Executable& executable, size_t first, size_t count) const {
    const auto answers =
        RunRows(executable, absl::MakeConstSpan(images_).subspan(first, count), 32);
    EXPECT_TRUE(answers.ok()) << answers.status();
    int64_t right = 0;
    for (size_t r = 0; r < count; ++r) {
      std::vector<float> scores((*answers)[r][0].size() / sizeof(float));
      std::memcpy(scores.data(), (*answers)[r][0].data(), (*answers)[r][0].size());
      const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
      right += best == labels_[first + r] ? 1 : 0;
    }
    return right;
  }

  Graph graph_;
  std::vector<RowBytes> images_;
  std::vector<int64_t> labels_;
};

// Each half of the images is judged by a network that was calibrated on the other half.
TEST_F(FashionTest, AccuracyOnOtherImagesIsWithinThreeTenthsOfAPoint) {
  const size_t half = images_.size() / 2;
  const auto exact = Compile(nullptr);
  ASSERT_NE(exact, nullptr);
  const int64_t before = CountRight(*exact, 0, images_.size());
  int64_t after = 0;
  for (const size_t first : {size_t{0}, half}) {
    const SampleRows samples = SamplesOf(absl::MakeConstSpan(images_).subspan(half - first, half));
    const auto fast = Compile(&samples);
    ASSERT_NE(fast, nullptr);
    EXPECT_THAT(fast->DescribePlan(), HasSubstr("qconv"));
    after += CountRight(*fast, first, half);
  }
  std::printf("right of 1,000: %d exact, %d fast\n", static_cast<int>(before),
              static_cast<int>(after));
  EXPECT_LE(std::abs(after - before) * 1000, 3 * static_cast<int64_t>(images_.size()));
}

TEST_F(FashionTest, InstructionSetsAgreeFromTheSamplesOn) {
  const auto rows = absl::MakeConstSpan(images_).first(40);
  const SampleRows samples = SamplesOf(rows.first(20));
  std::vector<RowBytes> first;
  std::vector<std::string> isas = IsasToTest();
  std::reverse(isas.begin(), isas.end());  // oneDNN keeps to the first one's for this process
  for (const std::string& isa : isas) {
    const auto fast = Compile(&samples, isa);
    ASSERT_NE(fast, nullptr);
    for (const int64_t batch : {1, 32}) {
      const auto got = RunRows(*fast, rows.first(isa == "ref" ? 4 : 40), batch);
      ASSERT_TRUE(got.ok()) << got.status();
      if (first.empty()) first = *got;
      EXPECT_TRUE(std::equal(got->begin(), got->end(), first.begin())) << isa << " " << batch;
    }
  }
}

// bfloat16 keeps 8 bits of every factor: answers move by less than a hundredth of their size, the
// class of an image hardly ever, and no row's answer depends on the batch.
TEST_F(FashionTest, Bfloat16IsNearAndTheSameInEveryBatch) {
  CompileOptions options;
  options.max_rows = 32;
  options.precision = Precision::kBf16;
  const auto compiled = CreateCpuBackend()->Compile(graph_, options);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  const std::string plan = (*compiled)->DescribePlan();
  EXPECT_THAT(plan, HasSubstr("precision bf16"));
  const bool here = plan.find("no bfloat16 products") == std::string::npos;
  const auto exact = Compile(nullptr);
  const auto rows = absl::MakeConstSpan(images_).first(64);
  const auto got = RunRows(**compiled, rows, 32), singly = RunRows(**compiled, rows, 1);
  const auto want = RunRows(*exact, rows, 32);
  ASSERT_TRUE(got.ok() && singly.ok() && want.ok());
  EXPECT_EQ(*got, *singly);
  EXPECT_EQ(*got != *want, here);
  double change = 0, size = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t i = 0; i < (*got)[r][0].size(); i += sizeof(float)) {
      float a = 0, b = 0;
      std::memcpy(&a, &(*got)[r][0][i], sizeof a);
      std::memcpy(&b, &(*want)[r][0][i], sizeof b);
      change += (a - b) * (a - b);
      size += b * b;
    }
  }
  EXPECT_LT(change, 1e-4 * size);
  const int64_t before = CountRight(*exact, 0, images_.size());
  EXPECT_NEAR(static_cast<double>(CountRight(**compiled, 0, images_.size())),
              static_cast<double>(before), 3);
}

TEST_F(FashionTest, FastWithoutSamplesIsRefused) {
  CompileOptions options;
  options.precision = Precision::kFast;
  EXPECT_EQ(CreateCpuBackend()->Compile(graph_, options).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace bitmill
