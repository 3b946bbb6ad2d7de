#include "server/repository/load_version.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_backend.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/onnx/onnx_reader.h"
#include "tests/server/repository/fake_models.h"

namespace bitmill {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class LoadVersionTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<ServedModel>> Load(const std::string& contents,
                                                    const std::string& config = "") {
    root_.Put("m/1/model.onnx", contents);
    root_.Put("m/config.pbtxt", config);
    const auto on_disk = ScanModel(root_.path(), "m", "");
    const auto given = ReadConfig(root_.path(), *on_disk);
    if (!given.ok()) return given.status();
    return LoadVersion({root_.path(), "m", 1, on_disk->folder, on_disk->versions.at(1)}, *given,
                       options_, FakeParts(backend_));
  }
  std::string ErrorOf(const std::string& contents, const std::string& config = "") {
    return std::string(Load(contents, config).status().message());
  }

  TemporaryFolder root_;
  FakeBackend backend_;
  RepositoryOptions options_;
};

TEST_F(LoadVersionTest, MakesSomethingThatCanBeServed) {
  const auto model = Load("add 5");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->name, "m");
  EXPECT_EQ((*model)->version, 1);
  EXPECT_EQ((*model)->settings.max_batch_size, 64);
  EXPECT_THAT((*model)->config_text, HasSubstr("TYPE_FP32"));
  EXPECT_NE((*model)->runtime, nullptr);
  EXPECT_EQ(Ask(**model, 1), 6);
}

TEST_F(LoadVersionTest, NamesTheFileInEveryError) {
  EXPECT_THAT(ErrorOf("rubbish"), HasSubstr("m/1/model.onnx: byte 0: not a model"));
  EXPECT_THAT(ErrorOf("uncompilable"), HasSubstr("m/1/model.onnx: node 'n' (Strange)"));
  EXPECT_THAT(ErrorOf("add 1", "max_batch_size: oops"), HasSubstr("m/config.pbtxt:1:"));
  EXPECT_THAT(ErrorOf("add 1", "name: \"n\""), HasSubstr("m/config.pbtxt:1:"));
}

TEST_F(LoadVersionTest, RefusesAFileAboveTheLimit) {
  options_.max_model_bytes = 5;
  EXPECT_TRUE(Load("add 1").ok());
  EXPECT_EQ(Load("add 10").status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(LoadVersionTest, RefusesAFileThatChangedMeanwhile) {
  root_.Put("m/1/model.onnx", "add 1");
  const auto on_disk = ScanModel(root_.path(), "m", "");
  root_.Put("m/1/model.onnx", "add 2");
  const auto model = LoadVersion({root_.path(), "m", 1, on_disk->folder, on_disk->versions.at(1)},
                                 GivenConfig{}, options_, FakeParts(backend_));
  EXPECT_EQ(model.status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(LoadVersionTest, RunsTheWarmupOfTheConfiguration) {
  root_.Put("m/warmup/x.raw", std::string(16, '\0'));
  const auto model = Load("add 1", R"(
    model_warmup [
      { name: "zeros" batch_size: 4 count: 3
        inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 zero_data: true } } },
      { name: "random" inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 random_data: true } } },
      { name: "file" batch_size: 2
        inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 input_data_file: "x.raw" } } } ])");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(backend_.counts.runs, 5);
}

TEST_F(LoadVersionTest, RefusesAWarmupThatDoesNotFit) {
  const auto warmup = [](const std::string& entry) {
    return "model_warmup { name: \"w\" " + entry + "}";
  };
  EXPECT_THAT(ErrorOf("add 1", warmup("batch_size: 65")),
              HasSubstr("batch_size 65, the model takes at most 64"));
  EXPECT_THAT(ErrorOf("add 1", warmup("inputs { key: \"q\" value { data_type: TYPE_FP32 } }")),
              HasSubstr("no input 'q'"));
  EXPECT_THAT(
      ErrorOf("add 1", warmup("inputs { key: \"x\" value { data_type: TYPE_INT8 dims: 2 } }")),
      HasSubstr("data_type TYPE_INT8, the model has TYPE_FP32"));
  EXPECT_THAT(
      ErrorOf("add 1", warmup("inputs { key: \"x\" value { data_type: TYPE_FP32 dims: 3 } }")),
      HasSubstr("dims [3], the model has [2]"));
  EXPECT_THAT(ErrorOf("add 1", warmup("inputs { key: \"x\" value { data_type: TYPE_FP32 dims: 2 "
                                      "input_data_file: \"none\" } }")),
              HasSubstr("warmup/none"));
  root_.Put("m/warmup/short", "abc");
  EXPECT_THAT(ErrorOf("add 1", warmup("inputs { key: \"x\" value { data_type: TYPE_FP32 dims: 2 "
                                      "input_data_file: \"short\" } }")),
              HasSubstr("3 bytes, input 'x' takes 8"));
}

// With the CPU backend: the next load takes the plan, unless the configuration says no.
TEST_F(LoadVersionTest, KeepsAPlanBesideTheModel) {
  const std::string shipped = absl::StrCat(BITMILL_SOURCE_DIR, "/models/repository/digits_w1a1/1/");
  const auto bytes = ReadFile(absl::StrCat(shipped, "model.onnx"));
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  root_.Put("m/1/model.onnx", *bytes);
  const auto backend = CreateCpuBackend();
  LoaderParts parts = FakeParts(backend_);
  const LoaderParts real{*backend, ReadOnnx, parts.runtime_factory};
  options_.plan_cache.min_compile_ms = 0;
  const auto load = [&](const std::string& config) -> std::string {
    root_.Put("m/config.pbtxt", config);
    const auto on_disk = ScanModel(root_.path(), "m", "");
    const auto given = ReadConfig(root_.path(), *on_disk);
    if (!given.ok()) return std::string(given.status().message());
    const auto model = LoadVersion({root_.path(), "m", 1, on_disk->folder, on_disk->versions.at(1)},
                                   *given, options_, real);
    if (!model.ok()) return std::string(model.status().message());
    EXPECT_EQ((*model)->plan_from_file, absl::StartsWith((*model)->plan_origin, "from cache"));
    return absl::StrCat((*model)->plan_origin, ", rows ", (*model)->executable->max_rows());
  };
  const auto off = [](const std::string& value) {
    return absl::StrCat("parameters { key: \"plan_cache\" value { string_value: \"", value,
                        "\" } }");
  };
  EXPECT_THAT(load(off("off")), AllOf(StartsWith("compiled in"), Not(HasSubstr("saved"))));
  EXPECT_THAT(load(""), AllOf(StartsWith("compiled in"), HasSubstr("saved, rows 64")));
  EXPECT_THAT(load("max_batch_size: 7"), AllOf(StartsWith("from cache"), HasSubstr("rows 7")));
  EXPECT_THAT(load(off("off")), StartsWith("compiled in"));
  EXPECT_THAT(load(off("maybe")), HasSubstr("expected 'on' or 'off'"));
  options_.plan_cache.folder = root_.path() + "/m/1/none";
  EXPECT_THAT(load(""), StartsWith("from cache")) << "the one beside the model still fits";
}

TEST_F(LoadVersionTest, InstancesOnCpusAloneAskForTheCpu) {
  const auto wants_cpu = [&](const std::string& config) {
    EXPECT_TRUE(Load("add 1", config).ok()) << config;
    return backend_.wants_cpu.load();
  };
  const auto named = [](const std::string& backend) {
    return absl::StrCat("parameters { key: \"backend\" value { string_value: \"", backend,
                        "\" } }");
  };
  EXPECT_FALSE(wants_cpu(""));
  EXPECT_TRUE(wants_cpu(named("cpu")));
  EXPECT_FALSE(wants_cpu(named("auto")));
  EXPECT_FALSE(wants_cpu("instance_group { count: 2 }"));
  EXPECT_TRUE(wants_cpu("instance_group { count: 2 kind: KIND_CPU }"));
  EXPECT_FALSE(wants_cpu("instance_group [ { kind: KIND_CPU }, { kind: KIND_AUTO } ]"));
  EXPECT_FALSE(wants_cpu("instance_group { kind: KIND_CPU } " + named("auto")));
  EXPECT_THAT(ErrorOf("add 1", named("gpu")),
              HasSubstr("expected 'cpu', 'opencl', 'cuda' or 'auto'"));
}

TEST_F(LoadVersionTest, InstancesOnAGpuAskForCuda) {
  const auto wanted = [&](const std::string& config) {
    EXPECT_TRUE(Load("add 1", config).ok()) << config;
    return std::pair(backend_.wants_cuda.load(), backend_.wanted_gpus.load());
  };
  const std::string cuda = "parameters { key: \"backend\" value { string_value: \"cuda\" } }";
  EXPECT_EQ(wanted(""), std::pair(false, 0));
  EXPECT_EQ(wanted(cuda), std::pair(true, 0));
  EXPECT_EQ(wanted("instance_group { count: 2 kind: KIND_GPU }"), std::pair(true, 0));
  EXPECT_EQ(wanted("instance_group { kind: KIND_GPU gpus: 0 } " + cuda), std::pair(true, 1));
  EXPECT_EQ(wanted("instance_group { gpus: [ 0, 1 ] }"), std::pair(true, 2));
}

TEST_F(LoadVersionTest, ModelsAreTriedWithinTheMemoryBudget) {
  const auto bytes = [&] {
    EXPECT_TRUE(Load("add 1").ok());
    return backend_.working_bytes.load();
  };
  EXPECT_EQ(bytes(), 0);
  options_.memory.host_bytes = 1000;
  EXPECT_EQ(bytes(), 0);
  options_.memory.host.share = 0.5;
  EXPECT_EQ(bytes(), 500);
  options_.memory.host.bytes = 4000;
  EXPECT_EQ(bytes(), 4000);
}

TEST_F(LoadVersionTest, TunesForAsLongAsTheConfigurationOrTheServerSays) {
  const auto seconds = [&](const std::string& config) {
    EXPECT_TRUE(Load("add 1", config).ok());
    return backend_.tune_seconds.load();
  };
  const auto tune = [](const std::string& value) {
    return absl::StrCat("parameters { key: \"tune\" value { string_value: \"", value, "\" } }");
  };
  EXPECT_EQ(seconds(""), 0.0);
  EXPECT_EQ(seconds(tune("2.5")), 2.5);
  options_.tune_seconds = 1.0;
  EXPECT_EQ(seconds(""), 1.0);
  EXPECT_EQ(seconds(tune("0")), 0.0);
  for (const char* wrong : {"on", "-1", "nan", "3601", ""}) {
    EXPECT_THAT(ErrorOf("add 1", tune(wrong)), HasSubstr("parameter 'tune' is")) << wrong;
  }
}

}  // namespace
}  // namespace bitmill
