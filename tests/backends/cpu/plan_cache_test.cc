// Plan files: the same answers with and without, nothing believed that does not fit, and a
// compilation whenever something is wrong.
#include "backends/plan_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/plan_file.h"
#include "backends/cpu/prepared_model.h"
#include "base/byte_codec.h"
#include "base/file.h"
#include "base/hash.h"
#include "model/onnx/onnx_reader.h"
#include "model/passes/check_lowered.h"
#include "model/verify.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/cpu/random_lowered.h"

namespace bitmill {
namespace {

namespace fs = std::filesystem;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<fs::path> AllModels() {
  std::vector<fs::path> models;
  const fs::path root = BITMILL_SOURCE_DIR;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root / "models/repository", error)) {
    const fs::path model = entry.path() / "1/model.onnx";
    if (fs::exists(model)) models.push_back(model);
  }
  for (const auto& entry : fs::directory_iterator(root / "../shared/models", error)) {
    if (entry.path().extension() == ".onnx") models.push_back(entry.path());
  }
  std::sort(models.begin(), models.end());
  return models;
}

std::vector<RowBytes> RandomRows(const Signature& signature, size_t count) {
  std::mt19937 random(7);
  std::vector<RowBytes> rows(count);
  for (RowBytes& row : rows) {
    for (const TensorSpec& input : signature.inputs) {
      std::vector<std::byte>& bytes = row.emplace_back(static_cast<size_t>(input.row_bytes));
      if (input.dtype == DType::kFloat32) {
        std::normal_distribution<float> normal;
        for (size_t i = 0; i < bytes.size(); i += sizeof(float)) {
          const float value = normal(random);
          std::memcpy(bytes.data() + i, &value, sizeof(value));
        }
      } else {
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() % 2);
      }
    }
  }
  return rows;
}

SampleRows SamplesOf(const std::vector<RowBytes>& rows) {
  SampleRows samples;
  samples.rows = static_cast<int64_t>(rows.size());
  samples.inputs.resize(rows.front().size());
  for (const RowBytes& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      samples.inputs[i].append(reinterpret_cast<const char*>(row[i].data()), row[i].size());
    }
  }
  return samples;
}

class PlanCacheTest : public testing::Test {
 protected:
  PlanCacheTest() {
    std::string name = testing::TempDir() + "/bitmill_plan_XXXXXX";
    folder_ = fs::canonical(mkdtemp(name.data()));
    cache_.min_compile_ms = 0;
  }
  ~PlanCacheTest() override {
    fs::permissions(folder_, fs::perms::owner_all);
    fs::remove_all(folder_);
  }

  // Copies a model into the folder and makes it the one to compile.
  void Take(const fs::path& model) {
    request_.file = folder_ / "model.onnx";
    request_.plan_folder = folder_;
    fs::copy_file(model, request_.file, fs::copy_options::overwrite_existing);
    request_.read = [this](CompileOptions& options) -> absl::StatusOr<CompileRequest::Model> {
      ++reads_;
      const auto bytes = ReadFile(request_.file);
      if (!bytes.ok()) return bytes.status();
      auto graph = ReadOnnx(*bytes, request_.file);
      if (!graph.ok()) return graph.status();
      options.calibration = calibration_;
      return CompileRequest::Model{*std::move(graph), HashBytes(bytes->data(), bytes->size())};
    };
    request_.limits = [this](const Signature&) { return ExecutionLimits{max_rows_, 1}; };
  }
  void TakeSmall() {
    Take(fs::path(BITMILL_SOURCE_DIR) / "models/repository/fmnist_tfc_w1a1/1/model.onnx");
  }

  CompiledModel Compile() {
    auto model = CompileThroughCache(*backend_, cache_, request_);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? *std::move(model) : CompiledModel{};
  }
  std::string plan() const { return folder_ / "model.plan"; }
  void ChangePlan(const std::function<void(std::string&)>& change) const {
    std::string bytes = *ReadFile(plan());
    change(bytes);
    fs::remove(plan());
    std::ofstream(plan(), std::ios::binary) << bytes;
  }
  absl::Status Open() const {
    return backend_->OpenPlan(plan(), geteuid(), request_.options).status();
  }

  fs::path folder_;
  std::unique_ptr<Backend> backend_ = CreateCpuBackend();
  PlanCacheOptions cache_;
  CompileRequest request_;
  std::shared_ptr<const SampleRows> calibration_;
  int64_t max_rows_ = 17;
  int reads_ = 0;
};

TEST_F(PlanCacheTest, EveryModelAnswersWithTheSameBits) {
  const std::vector<fs::path> models = AllModels();
  ASSERT_GE(models.size(), 3U);
  for (const fs::path& model : models) {
    SCOPED_TRACE(model.string());
    fs::remove(plan());
    Take(model);
    const CompiledModel fresh = Compile();
    ASSERT_NE(fresh.executable, nullptr);
    EXPECT_THAT(fresh.origin, AllOf(StartsWith("compiled in"), EndsWith(", saved")));
    const CompiledModel cached = Compile();
    ASSERT_NE(cached.executable, nullptr);
    EXPECT_TRUE(cached.from_cache);
    EXPECT_THAT(cached.origin, StartsWith("from cache"));
    EXPECT_EQ(cached.executable->DescribePlan(), fresh.executable->DescribePlan());
    const auto rows = RandomRows(fresh.executable->signature(), 5);
    const auto want = RunRows(*fresh.executable, rows, 1);
    const auto got = RunRows(*cached.executable, rows, cached.executable->max_rows() > 1 ? 5 : 1);
    ASSERT_TRUE(want.ok() && got.ok()) << want.status() << got.status();
    EXPECT_EQ(*want, *got);
  }
}

TEST_F(PlanCacheTest, FastModelsKeepTheirCalibration) {
  for (const char* name : {"fmnist_wide_fp32", "fmnist_wide_w1a1"}) {
    SCOPED_TRACE(name);
    Take(fs::path(BITMILL_SOURCE_DIR) / "models/repository" / name / "1/model.onnx");
    request_.options.precision = Precision::kExact;
    const CompiledModel exact = Compile();
    ASSERT_NE(exact.executable, nullptr);
    const auto rows = RandomRows(exact.executable->signature(), 20);
    calibration_ = std::make_shared<const SampleRows>(SamplesOf(rows));
    request_.options.precision = Precision::kFast;
    request_.options.calibration_digest = absl::StrCat(name, " samples");
    const CompiledModel fresh = Compile();
    const CompiledModel cached = Compile();
    ASSERT_TRUE(fresh.executable != nullptr && cached.executable != nullptr);
    EXPECT_FALSE(fresh.from_cache);
    EXPECT_TRUE(cached.from_cache);
    EXPECT_EQ(cached.executable->DescribePlan(), fresh.executable->DescribePlan());
    EXPECT_EQ(*RunRows(*cached.executable, rows, 3), *RunRows(*fresh.executable, rows, 17));
    request_.options.calibration_digest = "other samples";
    EXPECT_FALSE(Compile().from_cache);
  }
}

// No weight for input channels of which `gone` says so.
void Prune(Graph& graph, const std::function<bool(int64_t channel)>& gone) {
  for (Node& node : graph.nodes) {
    auto* const conv = std::get_if<LowBitConvOp>(&node.lowered);
    if (conv == nullptr) continue;
    auto pruned = std::make_shared<Tensor>(conv->weights->Clone());
    const Shape& shape = pruned->shape();
    const int64_t taps = shape[2] * shape[3];
    for (int64_t i = 0; i < pruned->elements(); ++i) {
      if (gone(i / taps % shape[1])) pruned->span<int8_t>()[static_cast<size_t>(i)] = 0;
    }
    conv->weights = std::move(pruned);
  }
}

// All kinds of layers, each with what its step keeps.
TEST_F(PlanCacheTest, EveryKindOfLayerComesBack) {
  using Epilogue = LowBitConvOp::Epilogue;
  std::mt19937 random(11);
  std::vector<Graph> graphs;
  for (const bool dense : {false, true}) {
    for (const Epilogue epilogue :
         {Epilogue::kFloat, Epilogue::kThresholds, Epilogue::kRequantize}) {
      for (const bool bits_in : {false, true}) {
        for (const int weight_bits : {1, 2, 4, 8}) {
          const bool codes_out = epilogue == Epilogue::kRequantize;
          graphs.push_back(RandomLowered(
              {bits_in, weight_bits, weight_bits == 2, epilogue, !codes_out && bits_in, dense, 0},
              random));
        }
      }
    }
    graphs.push_back(RandomPooling(dense, random));
    graphs.push_back(RandomFloat(dense, random));
    for (int i = 0; i < 10; ++i) graphs.push_back(RandomResidual(random));
  }
  // Pruned: channels left out before the layer, and empty blocks within it.
  for (const bool bits_in : {false, true}) {
    for (const bool blocks : {false, true}) {
      for (const bool dense : {false, true}) {
        graphs.push_back(
            RandomLowered({bits_in, 2, true, Epilogue::kFloat, true, dense, 512}, random));
        Prune(graphs.back(), [&](int64_t c) { return blocks ? c / 64 % 4 != 0 : c % 8 != 0; });
      }
    }
  }
  for (const int weight_bits : {1, 2}) {
    for (const Epilogue epilogue : {Epilogue::kFloat, Epilogue::kThresholds}) {
      LoweredKind kind{.weight_bits = weight_bits, .ternary = weight_bits == 2};
      kind.epilogue = epilogue;
      kind.depthwise = true;
      for (int i = 0; i < 2; ++i) graphs.push_back(RandomLowered(kind, random));
    }
  }
  for (const bool bits_in : {false, true}) {
    graphs.push_back(
        RandomLowered(LargeDense({bits_in, 2, true, Epilogue::kRequantize, false}), random));
  }
  int tried = 0;
  std::string kernels_seen;
  for (Graph& graph : graphs) {
    FillIn(graph);
    if (graph.inputs.size() != 1 || !CheckLowered(graph).ok() || !VerifyGraph(graph).ok()) continue;
    SCOPED_TRACE(tried++);
    const auto fresh = CompileLowered(graph, "auto", 5);
    if (!fresh.ok()) continue;  // what the backend refuses is for other tests
    const KernelSet kernels = *SelectKernels("auto");
    StoredPlan plan_of_graph;
    plan_of_graph.key = {{"k", "v"}};
    plan_of_graph.graph = graph;
    CpuPreparedModel prepared((*fresh)->signature(), std::move(plan_of_graph), kernels, {},
                              nullptr);
    ASSERT_TRUE(prepared.MakeExecutable({5, 1}).ok());
    ASSERT_TRUE(prepared.Save(plan(), {}).ok());
    auto stored = ReadStoredPlan(plan(), geteuid(), {{"k", "v"}});
    ASSERT_TRUE(stored.ok()) << stored.status();
    CpuPreparedModel again((*fresh)->signature(), *std::move(stored), kernels, {}, nullptr);
    const auto cached = again.MakeExecutable({5, 1});
    ASSERT_TRUE(cached.ok()) << cached.status();
    EXPECT_FALSE(again.grown());
    EXPECT_EQ((*cached)->weight_bytes(), (*fresh)->weight_bytes());
    kernels_seen += (*cached)->DescribePlan();
    const auto rows = RandomRows((*fresh)->signature(), 4);
    EXPECT_EQ(*RunRows(**cached, rows, 4), *RunRows(**fresh, rows, 1));
  }
  std::printf("%d of %zu graphs\n", tried, graphs.size());
  EXPECT_GT(tried, 20);
  for (const char* kind :
       {"bconv", "bdepth", "qconv", "dnnl", "sparse", "live channels", "slices"}) {
    EXPECT_THAT(kernels_seen, HasSubstr(kind));
  }
}

TEST_F(PlanCacheTest, APlanServesEveryBatchSizeAndNeedsNoModel) {
  TakeSmall();
  max_rows_ = 1;
  Compile();
  max_rows_ = 64;
  const CompiledModel cached = Compile();
  EXPECT_TRUE(cached.from_cache);
  EXPECT_EQ(cached.executable->max_rows(), 64);
  EXPECT_EQ(reads_, 1);
}

TEST_F(PlanCacheTest, AnotherModelFileIsCompiled) {
  TakeSmall();
  Compile();
  Take(fs::path(BITMILL_SOURCE_DIR) / "models/repository/digits_w1a1/1/model.onnx");
  EXPECT_FALSE(Compile().from_cache);
  EXPECT_TRUE(Compile().from_cache);
}

TEST_F(PlanCacheTest, AnotherInstructionSetHasAPlanOfItsOwn) {
  TakeSmall();
  Compile();
  request_.options.isa = "ref";
  EXPECT_FALSE(Compile().from_cache);
  EXPECT_TRUE(Compile().from_cache);
  EXPECT_TRUE(fs::exists(folder_ / "model.ref.plan"));
  fs::rename(folder_ / "model.ref.plan", plan());
  request_.options.isa = "auto";
  EXPECT_THAT(std::string(Open().message()), HasSubstr("another instruction set: 'ref'"));
  EXPECT_FALSE(Compile().from_cache);
}

// Wherever a byte changes or the file ends, the model is compiled, and the plan is whole again.
TEST_F(PlanCacheTest, DamageAnywhereIsACompilation) {
  TakeSmall();
  const CompiledModel fresh = Compile();
  const auto rows = RandomRows(fresh.executable->signature(), 2);
  const auto want = RunRows(*fresh.executable, rows, 1);
  const std::string whole = *ReadFile(plan());
  std::vector<size_t> places;
  for (size_t at = 0; at < 64 + 4 * 32; ++at) places.push_back(at);  // header and table
  {
    const auto file = PlanFile::Open(plan(), geteuid());
    ASSERT_TRUE(file.ok()) << file.status();
    const auto* const start = reinterpret_cast<const char*>(file->file()->bytes().data());
    for (const PlanPart part :
         {PlanPart::kKey, PlanPart::kSource, PlanPart::kModel, PlanPart::kBlobs}) {
      const absl::string_view bytes = *file->Part(part);
      const auto first = static_cast<size_t>(bytes.data() - start);
      const size_t stride = std::max<size_t>(1, bytes.size() / 150);
      for (size_t at = 0; at < bytes.size(); at += stride) places.push_back(first + at);
    }
  }
  for (const size_t at : places) {
    ChangePlan([&](std::string& bytes) {
      bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ 0x41);
    });
    EXPECT_FALSE(Open().ok()) << "byte " << at;
    ChangePlan([&](std::string& bytes) { bytes = whole.substr(0, at); });
    EXPECT_FALSE(Open().ok()) << "cut off at " << at;
  }
  for (const size_t at : {size_t{20}, size_t{4100}, whole.size() - 3}) {
    ChangePlan([&](std::string& bytes) {
      bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ 1);
    });
    const CompiledModel again = Compile();
    EXPECT_FALSE(again.from_cache) << at;
    EXPECT_EQ(*RunRows(*again.executable, rows, 1), *want);
    EXPECT_TRUE(Compile().from_cache) << at;
  }
}

// A part whose hash is right may still say anything.
TEST_F(PlanCacheTest, PartsThatLieAreRefused) {
  TakeSmall();
  Compile();
  const auto file = PlanFile::Open(plan(), geteuid());
  ASSERT_TRUE(file.ok());
  const std::string key(*file->Part(PlanPart::kKey)), source(*file->Part(PlanPart::kSource)),
      model(*file->Part(PlanPart::kModel)), blobs(*file->Part(PlanPart::kBlobs));
  std::mt19937 random(3);
  int refused = 0;
  for (int i = 0; i < 1500; ++i) {
    std::string other = model;
    const size_t at = i < 600 ? static_cast<size_t>(i) % other.size() : random() % other.size();
    other[at] = static_cast<char>(random() % 3 == 0 ? 0xff : random());
    if (i % 5 == 0) other.resize(at);
    ASSERT_TRUE(WritePlanFile(plan(), {{PlanPart::kKey, {key}},
                                       {PlanPart::kSource, {source}},
                                       {PlanPart::kModel, {other}},
                                       {PlanPart::kBlobs, {blobs}}})
                    .ok());
    auto opened = backend_->OpenPlan(plan(), geteuid(), request_.options);
    if (!opened.ok() || !(*opened)->MakeExecutable({3, 1}).ok()) ++refused;
  }
  EXPECT_GT(refused, 300);
}

bool HasChoices(const std::string& path) {
  const auto file = PlanFile::Open(path, geteuid());
  return file.ok() && file->Has(PlanPart::kChoices) && file->Part(PlanPart::kChoices).ok();
}

TEST_F(PlanCacheTest, WhatWasMeasuredIsNotMeasuredAgain) {
  Take(fs::path(BITMILL_SOURCE_DIR) / "models/repository/fmnist_wide_w1a1/1/model.onnx");
  const CompiledModel usual = Compile();
  EXPECT_FALSE(HasChoices(plan()));
  request_.options.tune_seconds = 0.05;
  const CompiledModel tuned = Compile();
  EXPECT_TRUE(tuned.from_cache) << "only the choices were missing";
  EXPECT_THAT(tuned.origin, HasSubstr("tuned"));
  ASSERT_TRUE(HasChoices(plan()));
  const FileStamp written = *StampOfFile(plan());
  const CompiledModel again = Compile();
  EXPECT_TRUE(again.from_cache);
  EXPECT_THAT(again.origin, testing::Not(HasSubstr("tuned")));
  EXPECT_EQ(*StampOfFile(plan()), written) << "it was written anew";
  EXPECT_EQ(again.executable->DescribePlan(), tuned.executable->DescribePlan());
  request_.options.tune_seconds = 0.0;
  EXPECT_EQ(Compile().executable->DescribePlan(), tuned.executable->DescribePlan());

  const auto rows = RandomRows(usual.executable->signature(), 5);
  const auto want = *RunRows(*usual.executable, rows, 1);
  EXPECT_EQ(*RunRows(*tuned.executable, rows, 5), want);
  EXPECT_EQ(*RunRows(*again.executable, rows, 1), want);
}

// The part kChoices for layers 0 to 99, as it lies in the file.
std::string ChoicesOfLayers(int32_t first, std::string kernel, int32_t block_shift) {
  PlainEncoder encoder;
  uint64_t layers = 100, steps = 1;
  encoder(layers);
  for (int32_t node = first; node < first + 100; ++node) {
    bool prepared = true;
    int32_t sparse_channels = LayerChoice::kByDensity;
    encoder(node, kernel, prepared, sparse_channels, block_shift);
  }
  double micros = 1.0, gain = 1.0;
  encoder(steps, micros, gain);
  return encoder.Take();
}

TEST_F(PlanCacheTest, ChoicesThatCannotBeAreACompilation) {
  TakeSmall();
  const auto add_choices = [&](const std::string& choices) {
    fs::remove(plan());
    Compile();
    const auto file = PlanFile::Open(plan(), geteuid());
    ASSERT_TRUE(file.ok());
    std::vector<PlanPartContents> parts = {{PlanPart::kChoices, {choices}}};
    for (const PlanPart part :
         {PlanPart::kKey, PlanPart::kSource, PlanPart::kModel, PlanPart::kBlobs}) {
      parts.push_back({part, {*file->Part(part)}});
    }
    ASSERT_TRUE(WritePlanFile(plan(), parts).ok());
  };
  add_choices(ChoicesOfLayers(0, "", 2));
  EXPECT_TRUE(Compile().from_cache);
  add_choices(ChoicesOfLayers(1000, "of a node that is not there", 0));
  EXPECT_TRUE(Compile().from_cache) << "it concerns nobody";
  add_choices(ChoicesOfLayers(0, "bconv_none", 0));
  EXPECT_TRUE(Open().ok());
  EXPECT_FALSE(Compile().from_cache);
  EXPECT_TRUE(Compile().from_cache);
  add_choices(ChoicesOfLayers(0, "", 63));
  EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(Compile().from_cache);
  add_choices(ChoicesOfLayers(0, "", 0).substr(1));
  EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss);
}

TEST_F(PlanCacheTest, AFileThatIsNoPlanIsLeftAlone) {
  TakeSmall();
  std::ofstream(plan()) << "an engine of somebody else";
  EXPECT_THAT(Compile().origin, testing::Not(HasSubstr("saved")));
  EXPECT_EQ(*ReadFile(plan()), "an engine of somebody else");
}

TEST_F(PlanCacheTest, PlansThatOthersMayWriteAreNotTrusted) {
  TakeSmall();
  Compile();
  fs::permissions(plan(), fs::perms::others_write, fs::perm_options::add);
  EXPECT_EQ(Open().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_FALSE(Compile().from_cache);
  EXPECT_TRUE(Compile().from_cache) << "it was replaced";
  fs::rename(plan(), folder_ / "elsewhere");
  fs::create_symlink(folder_ / "elsewhere", plan());
  EXPECT_FALSE(Compile().from_cache);
}

TEST_F(PlanCacheTest, WithoutAPlaceToWriteItCompilesEachTime) {
  TakeSmall();
  request_.plan_folder = folder_ / "not/there";
  EXPECT_THAT(Compile().origin, testing::Not(HasSubstr("saved")));
  EXPECT_FALSE(Compile().from_cache);
  cache_.folder = folder_ / "made/for/it";
  EXPECT_THAT(Compile().origin, HasSubstr("saved"));
  EXPECT_TRUE(Compile().from_cache);
}

TEST_F(PlanCacheTest, OffMeansOffAndFastCompilationsAreNotKept) {
  TakeSmall();
  cache_.min_compile_ms = 1'000'000;
  Compile();
  EXPECT_FALSE(fs::exists(plan()));
  cache_ = ParsePlanCache("off");
  cache_.min_compile_ms = 0;
  Compile();
  EXPECT_FALSE(fs::exists(plan()));
  EXPECT_EQ(ParsePlanCache("beside").folder, "");
  EXPECT_EQ(ParsePlanCache("/var/cache").folder, "/var/cache");
}

TEST_F(PlanCacheTest, WritersAtOnceLeaveOneWholePlan) {
  TakeSmall();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this] {
      CompileRequest request = request_;
      request.read = [&](CompileOptions&) -> absl::StatusOr<CompileRequest::Model> {
        const std::string bytes = *ReadFile(request.file);
        return CompileRequest::Model{*ReadOnnx(bytes, request.file),
                                     HashBytes(bytes.data(), bytes.size())};
      };
      for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(CompileThroughCache(*backend_, cache_, request).ok());
        if (i % 2 == 1) fs::remove(plan());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Compile();
  EXPECT_TRUE(Compile().from_cache);
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder_))
    files += entry.is_regular_file() ? 1 : 0;
  EXPECT_EQ(files, 2) << "a temporary file was left behind";
}

}  // namespace
}  // namespace bitmill
