// Every operator in its variants, through the reader and the reference, against the outputs of
// other evaluators (tests/model/make_onnx_cases.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/npz.h"
#include "model/onnx/onnx_reader.h"
#include "model/ops/op_registry.h"
#include "model/reference.h"

namespace bitmill {
namespace {

constexpr int kFewestCases = 280;

const NamedTensors& Arrays() {
  static const NamedTensors& arrays = *new NamedTensors([] {
    auto read = ReadNpz(std::string(BITMILL_SOURCE_DIR) + "/tests/model/data/onnx_cases.npz");
    EXPECT_TRUE(read.ok()) << read.status();
    return read.ok() ? *std::move(read) : NamedTensors();
  }());
  return arrays;
}

std::vector<std::string> CaseNames() {
  std::vector<std::string> names;
  for (const auto& [key, tensor] : Arrays()) {
    if (absl::EndsWith(key, "/model")) names.push_back(key.substr(0, key.size() - 6));
  }
  return names;
}

double ElementAsDouble(const Tensor& tensor, size_t i) {
  switch (tensor.dtype()) {
    case DType::kFloat32:
      return tensor.span<float>()[i];
    case DType::kFloat64:
      return tensor.span<double>()[i];
    case DType::kInt8:
      return tensor.span<int8_t>()[i];
    case DType::kBool:
    case DType::kUInt8:
      return tensor.span<uint8_t>()[i];
    case DType::kInt32:
      return tensor.span<int32_t>()[i];
    case DType::kInt64:
      return static_cast<double>(tensor.span<int64_t>()[i]);
    default:
      ADD_FAILURE() << "a case with elements of type " << DTypeName(tensor.dtype());
      return 0;
  }
}

void ExpectClose(const Tensor& got, const Tensor& wanted, double absolute, double relative) {
  ASSERT_EQ(got.dtype(), wanted.dtype());
  ASSERT_EQ(got.shape(), wanted.shape());
  for (size_t i = 0; i < static_cast<size_t>(got.elements()); ++i) {
    const double a = ElementAsDouble(got, i);
    const double b = ElementAsDouble(wanted, i);
    ASSERT_LE(std::abs(a - b), absolute + relative * std::abs(b))
        << "element " << i << " is " << a << ", wanted " << b;
  }
}

class OperatorCaseTest : public testing::TestWithParam<std::string> {};

TEST_P(OperatorCaseTest, GivesWhatTheOtherEvaluatorGives) {
  const auto array = [&](const std::string& name) -> const Tensor* {
    const auto found = Arrays().find(absl::StrCat(GetParam(), "/", name));
    return found == Arrays().end() ? nullptr : &found->second;
  };
  const Tensor& model = *array("model");
  const absl::string_view bytes(static_cast<const char*>(model.data()),
                                static_cast<size_t>(model.bytes()));
  const auto graph = ReadOnnx(bytes, GetParam());
  ASSERT_TRUE(graph.ok()) << graph.status();

  std::vector<TensorView> inputs;
  while (const Tensor* input = array(absl::StrCat("in", inputs.size()))) {
    inputs.push_back(input->view());
  }
  const auto outputs = RunReference(*graph, inputs);
  ASSERT_TRUE(outputs.ok()) << outputs.status();

  const absl::Span<const double> tolerance = array("tol")->span<double>();
  for (size_t i = 0; i < outputs->size(); ++i) {
    const Tensor* wanted = array(absl::StrCat("out", i));
    ASSERT_NE(wanted, nullptr);
    ExpectClose(outputs->at(i), *wanted, tolerance[0], tolerance[1]);
  }
}

std::string TestName(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(AllCases, OperatorCaseTest, testing::ValuesIn(CaseNames()), TestName);

TEST(OperatorCasesTest, AreAllThere) { EXPECT_GE(CaseNames().size(), size_t{kFewestCases}); }

TEST(OperatorCasesTest, CoverEveryOperator) {
  std::vector<std::string> missing;
  const std::string names = absl::StrCat(", ", SupportedOps(), ",");
  for (const absl::string_view op : {"Add", "BatchNormalization", "Conv", "Quant", "TopK"}) {
    EXPECT_TRUE(absl::StrContains(names, absl::StrCat(", ", op, ","))) << op;
  }
  const std::vector<std::string> cases = CaseNames();
  size_t begin = 2;
  while (begin < names.size()) {
    const size_t end = names.find(',', begin);
    const std::string op = names.substr(begin, end - begin);
    begin = end + 2;
    // HardTanh is found in files only, no evaluator has it (op_rules_test.cc has its values).
    if (op == "HardTanh") continue;
    const bool covered = std::any_of(cases.begin(), cases.end(), [&](const std::string& name) {
      return name == op || absl::StartsWith(name, op + "_");
    });
    if (!covered) missing.push_back(op);
  }
  EXPECT_THAT(missing, testing::IsEmpty());
}

}  // namespace
}  // namespace bitmill
