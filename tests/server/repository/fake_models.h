// Models for tests of the repository: a file of a few words, a reader and a backend for it, and
// folders to put them in. The executable adds a constant, so that an answer tells which file it
// came from.
#pragma once

#include <stdlib.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "backends/backend.h"
#include "gtest/gtest.h"
#include "server/metrics/metrics.h"
#include "server/repository/load_version.h"

namespace bitmill {

// Counts executables that exist, and runs.
struct FakeCounts {
  std::atomic<int> alive{0};
  std::atomic<int> runs{0};
  std::atomic<int> drains{0};
  std::atomic<int> compiled{0};
};

class FakeContext final : public ExecutionContext {};

// One FP32 input "x" of [2] and one output "y" of [2]: y = x + bias.
class AddExecutable final : public Executable {
 public:
  AddExecutable(float bias, bool batchable, int64_t max_rows, FakeCounts& counts)
      : bias_(bias), max_rows_(max_rows), counts_(counts) {
    signature_.inputs = {{"x", DType::kFloat32, {2}, 8}};
    signature_.outputs = {{"y", DType::kFloat32, {2}, 8}};
    signature_.batchable = batchable;
    ++counts_.alive;
  }
  ~AddExecutable() override { --counts_.alive; }

  const Signature& signature() const override { return signature_; }
  int64_t max_rows() const override { return max_rows_; }
  int64_t weight_bytes() const override { return 4; }
  int64_t arena_bytes() const override { return 0; }
  int64_t row_macs() const override { return 2; }
  std::unique_ptr<ExecutionContext> CreateContext() const override {
    return std::make_unique<FakeContext>();
  }
  absl::Status Run(const BatchRows& batch, ExecutionContext&) const override {
    ++counts_.runs;
    for (size_t r = 0; r < static_cast<size_t>(batch.rows); ++r) {
      float values[2];
      std::memcpy(values, batch.inputs[0][r], sizeof(values));
      if (values[0] == -1) return absl::InvalidArgumentError("x is -1");
      for (float& value : values) value += bias_;
      std::memcpy(batch.outputs[0][r], values, sizeof(values));
    }
    return absl::OkStatus();
  }
  std::string DescribePlan() const override { return "add"; }

 private:
  const float bias_;
  const int64_t max_rows_;
  FakeCounts& counts_;
  Signature signature_;
};

// A file says "add BIAS", "fixed BIAS" (no batch dimension), "uncompilable", or is broken.
inline absl::StatusOr<Graph> ReadFake(absl::string_view bytes, const std::string& source) {
  Graph graph;
  graph.name = std::string(bytes);
  graph.source = source;
  if (bytes == "throw") throw std::bad_alloc();
  if (!absl::StartsWith(bytes, "add ") && !absl::StartsWith(bytes, "fixed ") &&
      bytes != "uncompilable") {
    return absl::InvalidArgumentError(absl::StrCat("byte 0: not a model: ", bytes.substr(0, 10)));
  }
  graph.batchable = absl::StartsWith(bytes, "add ");
  return graph;
}

class FakePrepared final : public PreparedModel {
 public:
  FakePrepared(float bias, bool batchable, FakeCounts& counts)
      : bias_(bias), counts_(counts), pattern_(bias, batchable, 1, counts) {}

  const Signature& signature() const override { return pattern_.signature(); }
  absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(
      const ExecutionLimits& limits) override {
    return std::unique_ptr<Executable>(
        std::make_unique<AddExecutable>(bias_, signature().batchable, limits.max_rows, counts_));
  }
  absl::Status Save(const std::string& path, const PlanSource&) const override {
    return absl::UnimplementedError(path);
  }

 private:
  const float bias_;
  FakeCounts& counts_;
  const AddExecutable pattern_;
};

class FakeBackend final : public Backend {
 public:
  std::string name() const override { return "fake"; }
  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    tune_seconds = options.tune_seconds;
    working_bytes = options.working_bytes;
    wants_cpu = options.backend == "cpu";
    wants_cuda = options.backend == "cuda";
    wanted_gpus = static_cast<int>(options.gpus.size());
    const std::vector<std::string> words = absl::StrSplit(graph.name, ' ');
    float bias = 0;
    if (words.size() < 2 || !absl::SimpleAtof(words[1], &bias)) {
      return absl::UnimplementedError("node 'n' (Strange) is not supported");
    }
    ++counts.compiled;
    return std::unique_ptr<PreparedModel>(
        std::make_unique<FakePrepared>(bias, graph.batchable, counts));
  }
  mutable FakeCounts counts;
  mutable std::atomic<int64_t> working_bytes{-1};  // of the last model
  mutable std::atomic<double> tune_seconds{-1.0};
  mutable std::atomic<bool> wants_cpu{false};  // likewise
  mutable std::atomic<bool> wants_cuda{false};
  mutable std::atomic<int> wanted_gpus{0};  // how many are listed
};

class FakeRuntime final : public ModelRuntime {
 public:
  explicit FakeRuntime(FakeCounts& counts) : counts_(counts) {}
  void Drain() override { ++counts_.drains; }

 private:
  FakeCounts& counts_;
};

inline LoaderParts FakeParts(const FakeBackend& backend) {
  return {backend, ReadFake,
          [&backend](const ServedModel&) -> absl::StatusOr<std::unique_ptr<ModelRuntime>> {
            return std::unique_ptr<ModelRuntime>(std::make_unique<FakeRuntime>(backend.counts));
          }};
}

// What the model answers to {x, x}: x + bias.
inline float Ask(const ServedModel& model, float x) {
  const float input[2] = {x, x};
  float output[2] = {0, 0};
  const std::byte* input_row = reinterpret_cast<const std::byte*>(input);
  std::byte* output_row = reinterpret_cast<std::byte*>(output);
  const std::byte* const* inputs = &input_row;
  std::byte* const* outputs = &output_row;
  const auto context = model.executable->CreateContext();
  EXPECT_TRUE(model.executable->Run({1, {&inputs, 1}, {&outputs, 1}}, *context).ok());
  return output[0];
}

// A folder that is removed in the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = ::testing::TempDir() + "/bitmill_XXXXXX";
    path_ = std::filesystem::canonical(mkdtemp(name.data()));
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path() const { return path_; }
  void Put(const std::string& file, const std::string& contents) const {
    const std::filesystem::path full = path_ / file;
    std::filesystem::create_directories(full.parent_path());
    // Beside it and renamed: never seen half-written, and a new inode each time.
    const std::filesystem::path beside = path_ / ".next";
    std::ofstream(beside) << contents;
    std::filesystem::rename(beside, full);
  }
  void Remove(const std::string& file) const { std::filesystem::remove_all(path_ / file); }

 private:
  std::filesystem::path path_;
};

}  // namespace bitmill
