#include "tools/local/local_model.h"

#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/client/answer_report.h"
#include "tools/input/model_inputs.h"

namespace bitmill {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

std::string Repository(const std::string& model) {
  return absl::StrCat(BITMILL_SOURCE_DIR, "/models/repository/", model);
}

std::string EmptyFolder(const std::string& name) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/tools_local_model_test_", name);
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

TEST(FindModelFileTest, TakesTheNewestVersionByNumber) {
  const std::string folder = EmptyFolder("versions");
  for (const char* version : {"2", "10", "1", "draft"}) {
    std::filesystem::create_directories(absl::StrCat(folder, "/", version));
    ASSERT_TRUE(WriteFileAtomically(absl::StrCat(folder, "/", version, "/model.onnx"), "x").ok());
  }
  EXPECT_THAT(*FindModelFile(folder), EndsWith("/10/model.onnx"));
  EXPECT_THAT(*FindModelFile(folder + "/2"), EndsWith("/2/model.onnx"));
}

TEST(FindModelFileTest, SaysWhatIsMissing) {
  EXPECT_THAT(FindModelFile(EmptyFolder("empty")).status().message(), HasSubstr("no model.onnx"));
  EXPECT_TRUE(absl::IsNotFound(FindModelFile("/no/such/model").status()));
}

TEST(ReadModelFileTest, AFileThatIsNoModelIsAClearError) {
  const std::string path = absl::StrCat(testing::TempDir(), "/tools_local_model_test_noise.onnx");
  ASSERT_TRUE(WriteFileAtomically(path, "this is not a model").ok());
  const auto graph = ReadModelFile(path);
  EXPECT_FALSE(graph.ok());
  EXPECT_THAT(graph.status().message(), HasSubstr(path));
}

// The rows of a batch that is not full, on every path: the same as the golden outputs.
TEST(RunRowsTest, GivesTheGoldenOutputs) {
  const auto graph = ReadModelFile(Repository("fmnist_tfc_w1a1"));
  ASSERT_TRUE(graph.ok()) << graph.status();
  const std::string golden = absl::StrCat(BITMILL_SOURCE_DIR, "/models/golden/fmnist_tfc_w1a1.npz");
  const auto file = ReadTensorFile(golden);
  ASSERT_TRUE(file.ok()) << file.status();
  for (const int64_t max_rows : {1, 7, 64}) {
    CompileOptions options;
    options.max_rows = max_rows;
    const auto executable = CompileOnCpu(*graph, options);
    ASSERT_TRUE(executable.ok()) << executable.status();
    const auto inputs = ReadModelInputs((*executable)->signature(), {{golden + ":x"}, ""});
    ASSERT_TRUE(inputs.ok()) << inputs.status();
    const auto outputs = RunRows(**executable, inputs->inputs, inputs->rows);
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    for (const NamedTensor& array : file->arrays) {
      if (array.name != "y") continue;
      const auto gap = CompareWithGolden(outputs->front().tensor, array.tensor, inputs->rows, 1e-3);
      ASSERT_TRUE(gap.ok()) << gap.status();
      EXPECT_TRUE(gap->within()) << max_rows << " rows: gap " << gap->largest_gap;
      EXPECT_EQ(gap->same_class, inputs->rows);
    }
  }
}

}  // namespace
}  // namespace bitmill
