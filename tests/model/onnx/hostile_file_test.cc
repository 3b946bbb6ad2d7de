// Damaged and hostile files: always a status, within bounded time and memory.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "model/onnx/onnx_reader.h"
#include "model/verify.h"
#include "tests/model/onnx/model_proto.h"

namespace bitmill {
namespace {

std::string ReadModel(const std::string& name) {
  const auto bytes =
      ReadFile(std::string(BITMILL_SOURCE_DIR) + "/models/repository/" + name + "/1/model.onnx");
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? *bytes : std::string();
}

// A network with many operators and few weights.
std::string SmallNetwork() {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {"n", 1, 4, 4});
  AddFloats(model, "w", {2, 1, 3, 3}, std::vector<float>(18, 0.5F));
  AddFloats(model, "scale", {}, {0.25F});
  SetInts(AddNode(model, "Conv", {"x", "w"}, {"c"}), "pads", {1, 1, 1, 1});
  AddNode(model, "BipolarQuant", {"c", "scale"}, {"q"})->set_domain("onnx.brevitas");
  SetInts(AddNode(model, "MaxPool", {"q"}, {"p"}), "kernel_shape", {2, 2});
  AddNode(model, "Shape", {"p"}, {"shape"});
  AddInts(model, "zero", {1}, {0});
  AddNode(model, "Gather", {"shape", "zero"}, {"rows"});
  AddInts(model, "rest", {1}, {-1});
  SetInt(AddNode(model, "Concat", {"rows", "rest"}, {"target"}), "axis", 0);
  AddNode(model, "Reshape", {"p", "target"}, {"f"});
  SetInt(AddNode(model, "Softmax", {"f"}, {"y"}), "axis", -1);
  AddOutput(model, "y");
  return model.SerializeAsString();
}

TEST(HostileFileTest, SurvivesTruncationAtEveryByte) {
  const std::string bytes = SmallNetwork();
  ASSERT_TRUE(ReadOnnx(bytes, "whole").ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto graph = ReadOnnx(absl::string_view(bytes).substr(0, size), "cut");
    EXPECT_FALSE(graph.ok()) << "cut to " << size << " of " << bytes.size();
  }
}

TEST(HostileFileTest, SurvivesTruncationOfARealNetwork) {
  const std::string bytes = ReadModel("digits_w1a1");
  for (size_t size = 0; size < bytes.size(); size += 499) {
    EXPECT_FALSE(ReadOnnx(absl::string_view(bytes).substr(0, size), "cut").ok()) << size;
  }
}

TEST(HostileFileTest, SurvivesCorruption) {
  const std::string original = SmallNetwork();
  std::mt19937 random(11);
  int accepted = 0;
  for (int round = 0; round < 30000; ++round) {
    std::string bytes = original;
    for (int flips = 0; flips <= round % 4; ++flips) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const auto graph = ReadOnnx(bytes, "corrupt");
    if (!graph.ok()) continue;
    ++accepted;
    EXPECT_TRUE(VerifyGraph(*graph).ok());
  }
  EXPECT_GT(accepted, 0);  // names and weights can change without harm
}

TEST(HostileFileTest, RefusesOtherFiles) {
  EXPECT_TRUE(absl::IsInvalidArgument(ReadOnnx("", "empty").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadOnnx("not a model", "text").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadOnnx(std::string(1000, '\0'), "zeros").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadOnnx(std::string(1000, '\xff'), "ones").status()));
}

TEST(HostileFileTest, RefusesDeepNesting) {
  // Types of sequences of sequences.
  onnx::ModelProto model = ReluModel();
  onnx::TypeProto* type = model.mutable_graph()->mutable_output(0)->mutable_type();
  for (int depth = 0; depth < 2000; ++depth) {
    type = type->mutable_sequence_type()->mutable_elem_type();
  }
  EXPECT_TRUE(absl::IsInvalidArgument(Read(model).status()));
}

// Peak resident memory of this process.
int64_t PeakBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

TEST(HostileFileTest, DoesNotEvaluateWhatWouldNotFit) {
  // 2 GiB of zeros from a few bytes, added to the input.
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {1, 1});
  AddInts(model, "shape", {2}, {1 << 14, 1 << 15});
  AddNode(model, "ConstantOfShape", {"shape"}, {"zeros"});
  AddNode(model, "Add", {"x", "zeros"}, {"y"});
  AddOutput(model, "y");
  const int64_t before = PeakBytes();
  const auto graph = Read(model);
  EXPECT_LT(PeakBytes() - before, int64_t{256} << 20);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->nodes.size(), 2U);  // nothing was folded
}

TEST(HostileFileTest, RefusesResultsThatAreTooLarge) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {1, 1});
  AddInts(model, "shape", {3}, {1 << 20, 1 << 20, 1 << 20});
  AddNode(model, "Expand", {"x", "shape"}, {"y"});
  AddOutput(model, "y");
  EXPECT_TRUE(absl::IsInvalidArgument(Read(model).status()));
}

TEST(HostileFileTest, BoundsTheMemoryOfManyConstants) {
  // 20,000 constants of 64 KB each from a file of 1 MB.
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {1, 16000});
  AddInts(model, "shape", {2}, {1, 16000});
  std::string last = "x";
  for (int i = 0; i < 20000; ++i) {
    const std::string zeros = absl::StrCat("z", i);
    const std::string sum = absl::StrCat("s", i);
    AddNode(model, "ConstantOfShape", {"shape"}, {zeros.c_str()});
    AddNode(model, "Add", {last.c_str(), zeros.c_str()}, {sum.c_str()});
    last = sum;
  }
  AddOutput(model, last);
  const int64_t before = PeakBytes();
  EXPECT_TRUE(Read(model).ok());
  EXPECT_LT(PeakBytes() - before, int64_t{900} << 20);
}

TEST(HostileFileTest, BoundsTheWorkOfFolding) {
  // A constant matrix product of 2^33 steps from a file of 100 bytes.
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {1, 2048});
  AddInts(model, "shape", {2}, {2048, 2048});
  AddNode(model, "ConstantOfShape", {"shape"}, {"a"});
  AddNode(model, "MatMul", {"a", "a"}, {"b"});
  AddNode(model, "MatMul", {"x", "b"}, {"y"});
  AddOutput(model, "y");
  const auto graph = Read(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->nodes.size(), 2U);  // the first product was left to run time
}

}  // namespace
}  // namespace bitmill
