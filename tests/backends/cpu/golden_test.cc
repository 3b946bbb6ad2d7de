// Every ONNX model that has a golden file, compiled for every instruction set of this machine and
// run in several batch sizes: the golden outputs, and the same bits each time.
//
// Models of the repository always run; the larger collection beside it runs when it is there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_backend.h"
#include "base/file.h"
#include "base/npz.h"
#include "model/onnx/onnx_reader.h"
#include "tests/backends/cpu/plan_runner.h"

namespace bitmill {
namespace {

struct GoldenCase {
  std::string name, model_path, golden_path;
};

std::vector<GoldenCase> FindCases() {
  namespace fs = std::filesystem;
  const fs::path root = BITMILL_SOURCE_DIR;
  std::vector<GoldenCase> cases;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root / "models/golden", error)) {
    const std::string name = entry.path().stem().string();
    const fs::path model = root / "models/repository" / name / "1/model.onnx";
    if (fs::exists(model)) cases.push_back({name, model.string(), entry.path().string()});
  }
  const fs::path shared = root / "../shared/models";
  if (!fs::exists(shared)) {
    std::printf("note: %s is not there; only the models of the repository are tested\n",
                shared.c_str());
  }
  for (const auto& entry : fs::directory_iterator(shared / "golden", error)) {
    const std::string name = entry.path().stem().string();
    const fs::path model = shared / absl::StrCat(name, ".onnx");
    if (fs::exists(model)) {
      cases.push_back({absl::StrCat("shared_", name), model.string(), entry.path().string()});
    }
  }
  std::sort(cases.begin(), cases.end(),
            [](const GoldenCase& a, const GoldenCase& b) { return a.name < b.name; });
  return cases;
}

struct Golden {
  std::vector<RowBytes> inputs;
  std::vector<std::vector<float>> outputs;
  double tolerance = 0.0;
};

absl::StatusOr<Golden> ReadGolden(const std::string& path) {
  const auto arrays = ReadNpz(path);
  if (!arrays.ok()) return arrays.status();
  Golden golden;
  for (const auto& [name, tensor] : *arrays) {
    if (name == "atol") {
      golden.tolerance = tensor.dtype() == DType::kFloat64 ? tensor.span<double>()[0]
                         : tensor.dtype() == DType::kFloat32
                             ? static_cast<double>(tensor.span<float>()[0])
                             : static_cast<double>(tensor.span<int64_t>()[0]);
    }
    if (name != "x" && name != "y") continue;
    const int64_t rows = tensor.shape()[0];
    const int64_t row_bytes = tensor.bytes() / rows;
    const auto* const data = static_cast<const std::byte*>(tensor.data());
    for (int64_t r = 0; r < rows; ++r) {
      const std::byte* const row = data + r * row_bytes;
      if (name == "x") {
        golden.inputs.push_back({{row, row + row_bytes}});
      } else {
        std::vector<float> values(static_cast<size_t>(row_bytes) / sizeof(float));
        std::memcpy(values.data(), row, static_cast<size_t>(row_bytes));
        golden.outputs.push_back(std::move(values));
      }
    }
  }
  return golden;
}

std::vector<float> FloatsOf(const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

int64_t ArgMax(const std::vector<float>& values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

// The reference kernels take a second a row of a large model: a few rows of those will do.
size_t RowsToRun(const Executable& executable, const std::string& isa, size_t rows) {
  constexpr int64_t kLargeMacs = 5'000'000;
  constexpr size_t kFewRows = 4;
  return isa == "ref" && executable.row_macs() > kLargeMacs ? std::min(rows, kFewRows) : rows;
}

class GoldenTest : public testing::TestWithParam<GoldenCase> {};

TEST_P(GoldenTest, MatchesOnEveryInstructionSetAndBatchSize) {
  const auto bytes = ReadFile(GetParam().model_path);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto graph = ReadOnnx(*bytes, GetParam().model_path);
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto golden = ReadGolden(GetParam().golden_path);
  ASSERT_TRUE(golden.ok()) << golden.status();
  ASSERT_EQ(golden->inputs.size(), golden->outputs.size());

  std::vector<RowBytes> first;
  // The best instruction set comes first: it is the one that oneDNN then uses in this process.
  std::vector<std::string> isas = IsasToTest();
  std::reverse(isas.begin(), isas.end());
  for (const std::string& isa : isas) {
    const auto executable = CreateCpuBackend()->Compile(*graph, {.max_rows = 17, .isa = isa});
    ASSERT_TRUE(executable.ok()) << executable.status();
    SCOPED_TRACE((*executable)->DescribePlan());
    for (const int64_t wanted : {17, 3, 1}) {
      const int64_t batch = std::min(wanted, (*executable)->max_rows());
      SCOPED_TRACE(testing::Message() << isa << ", batches of " << batch);
      const auto rows = absl::MakeConstSpan(golden->inputs)
                            .first(RowsToRun(**executable, isa, golden->inputs.size()));
      const auto actual = RunRows(**executable, rows, batch, batch == 3 ? 1 : 64);
      ASSERT_TRUE(actual.ok()) << actual.status();
      if (first.empty()) first = *actual;
      ASSERT_TRUE(std::equal(actual->begin(), actual->end(), first.begin()));
    }
  }
  ASSERT_EQ(first.size(), golden->outputs.size());
  double largest = 0.0;
  for (size_t r = 0; r < first.size(); ++r) {
    const std::vector<float> values = FloatsOf(first[r][0]);
    ASSERT_EQ(values.size(), golden->outputs[r].size());
    for (size_t i = 0; i < values.size(); ++i) {
      const double gap = std::fabs(static_cast<double>(values[i]) - golden->outputs[r][i]);
      ASSERT_LE(gap, golden->tolerance) << "row " << r << " value " << i;
      largest = std::max(largest, gap);
    }
    ASSERT_EQ(ArgMax(values), ArgMax(golden->outputs[r])) << "row " << r;
  }
  std::printf("%s: %zu rows, largest gap %g of %g allowed\n", GetParam().name.c_str(), first.size(),
              largest, golden->tolerance);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTest, testing::ValuesIn(FindCases()),
                         [](const testing::TestParamInfo<GoldenCase>& param) {
                           return param.param.name;
                         });

TEST(GoldenModelsTest, TheRepositoryHasModels) { EXPECT_GE(FindCases().size(), 3U); }

}  // namespace
}  // namespace bitmill
