// A shadow beside the version that answers, through the repository and the engine.
#include "server/frontend/engine_shadow.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/batching_engine.h"
#include "server/repository/disk_repository.h"
#include "server/schedule/tbb_scheduler.h"
#include "tests/server/repository/fake_models.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

class EngineShadowTest : public ::testing::Test {
 protected:
  static std::string Config(const std::string& more = "") {
    const auto parameter = [](const std::string& key, const std::string& value) {
      return "parameters { key: '" + key + "' value { string_value: '" + value + "' } }\n";
    };
    return parameter("watch", "on") + parameter("shadow", "on") + parameter("shadow_share", "1") +
           parameter("watch_task", "value") + more;
  }
  void Open() {
    RepositoryOptions options;
    options.root = root_.path();
    LoaderParts parts{backend_, ReadFake, engine_->runtime_factory(), &watch_};
    auto made = DiskRepository::Create(options, parts, *metrics_);
    ASSERT_TRUE(made.ok()) << made.status();
    repository_ = *std::move(made);
    repository_->LoadAtStart();
    shadow_ = std::make_unique<EngineShadow>(*repository_, *engine_, clock_);
    watch_.shadows().StartWithoutThread(*shadow_);
  }
  // The version that answers is asked, its tap is shown the answer, the shadow runs.
  void AskOnce(const std::string& id) {
    const auto model = repository_->Find("m", 0);
    ASSERT_TRUE(model.ok()) << model.status();
    ASSERT_NE((*model)->tap, nullptr);
    const float input[2] = {1, 2};
    float output[2] = {Ask(**model, 1), Ask(**model, 2)};
    const std::byte* input_rows = reinterpret_cast<const std::byte*>(input);
    auto* output_rows = reinterpret_cast<std::byte*>(output);
    (*model)->tap->OnAnswer({.request_id = id,
                             .rows = 1,
                             .inputs = {&input_rows, 1},
                             .outputs = {&output_rows, 1},
                             .answered_ns = clock_.Now(),
                             .serve_ns = 1'000'000'000});
    while (watch_.shadows().RunOne()) {
    }
  }
  QualityReport Report(int64_t version) {
    auto report = watch_.Report("m", version);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : QualityReport{};
  }

  TemporaryFolder root_;
  FakeBackend backend_;
  const SystemClock clock_{};
  QualityWatch watch_{clock_};
  std::unique_ptr<ServerMetrics> metrics_ = CreateServerMetrics({});
  std::unique_ptr<Scheduler> scheduler_ =
      CreateTbbScheduler({.workers = 2, .io_threads = 1}, clock_);
  std::unique_ptr<Engine> engine_ =
      CreateBatchingEngine({.inline_limit_ns = 0}, *scheduler_, *metrics_, clock_);
  std::unique_ptr<DiskRepository> repository_;
  std::unique_ptr<EngineShadow> shadow_;
};

TEST_F(EngineShadowTest, AShadowThatAgreesIsPromoted) {
  root_.Put("m/config.pbtxt", Config());
  root_.Put("m/1/model.onnx", "add 1");
  root_.Put("m/2/model.onnx", "add 1.001");
  Open();
  EXPECT_EQ(repository_->Find("m", 0)->get()->version, 1);
  for (int i = 0; i < 150; ++i) AskOnce("");
  EXPECT_EQ(Report(1).shadow_version, 2);
  EXPECT_EQ(Report(1).shadow_compared, 150);
  EXPECT_EQ(Report(1).shadow_agreement, 1);
  EXPECT_EQ(Report(2).shadow_version, 0);
  const absl::Status early = PromoteVersion(*repository_, watch_, "m", 2);
  EXPECT_EQ(early.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(early.message()), HasSubstr("promote_min_compared"));
  EXPECT_EQ(repository_->Find("m", 0)->get()->version, 1);

  for (int i = 0; i < 50; ++i) AskOnce("");
  const absl::Status promoted = PromoteVersion(*repository_, watch_, "m", 2);
  ASSERT_TRUE(promoted.ok()) << promoted;
  EXPECT_EQ(repository_->Find("m", 0)->get()->version, 2);
  AskOnce("");  // nothing is held back now
  EXPECT_EQ(Report(2).shadow_requests, 0);
  EXPECT_TRUE(PromoteVersion(*repository_, watch_, "m", 1).ok());  // back, unguarded
  EXPECT_EQ(repository_->Find("m", 0)->get()->version, 1);
}

TEST_F(EngineShadowTest, AShadowThatDiffersIsRefused) {
  root_.Put("m/config.pbtxt", Config());
  root_.Put("m/1/model.onnx", "add 1");
  root_.Put("m/2/model.onnx", "add 2");
  Open();
  for (int i = 0; i < 200; ++i) AskOnce("");
  EXPECT_EQ(Report(1).shadow_agreement, 0);
  EXPECT_THAT(std::string(PromoteVersion(*repository_, watch_, "m", 2).message()),
              HasSubstr("promote_min_agreement"));
}

TEST_F(EngineShadowTest, AShadowThatFailsIsCounted) {
  root_.Put("m/config.pbtxt", Config());
  root_.Put("m/1/model.onnx", "add 1");
  root_.Put("m/2/model.onnx", "add 1");
  Open();
  ShadowRequest request{"m", 1, "", 1, {std::vector<std::byte>(8)}, {std::vector<std::byte>(8)}, 0};
  const float refused[2] = {-1, 0};  // the fake takes no -1
  std::memcpy(request.inputs[0].data(), refused, sizeof(refused));
  const ShadowOutcome outcome = shadow_->Run(request);
  EXPECT_EQ(outcome.version, 2);
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kInvalidArgument);

  request.inputs[0].resize(16);
  EXPECT_EQ(shadow_->Run(request).status.code(), absl::StatusCode::kFailedPrecondition);
  request.version = 2;  // answers to nobody who names no version
  EXPECT_EQ(shadow_->Run(request).version, 0);
  request.model = "none";
  EXPECT_EQ(shadow_->Run(request).version, 0);
}

TEST_F(EngineShadowTest, WithoutTheParameterThereIsNothingToPromote) {
  root_.Put("m/config.pbtxt", "version_policy { all { } }");
  root_.Put("m/1/model.onnx", "add 1");
  root_.Put("m/2/model.onnx", "add 2");
  Open();
  EXPECT_EQ(repository_->Find("m", 0)->get()->tap, nullptr);
  EXPECT_EQ(PromoteVersion(*repository_, watch_, "m", 1).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(PromoteVersion(*repository_, watch_, "m", 0).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(PromoteVersion(*repository_, watch_, "x", 1).code(), absl::StatusCode::kNotFound);
}

TEST_F(EngineShadowTest, LabelsReachBothVersions) {
  root_.Put("m/config.pbtxt",
            "parameters { key: 'watch' value { string_value: 'on' } }\n"
            "parameters { key: 'shadow' value { string_value: 'on' } }\n"
            "parameters { key: 'shadow_share' value { string_value: '1' } }");
  root_.Put("m/1/model.onnx", "add 1");
  root_.Put("m/2/model.onnx", "add 1");
  Open();
  AskOnce("a");  // 1 + 1 and 2 + 1: class 1
  const QualityLabel labels[] = {{.key = "a", .class_index = 1},
                                 {.key = "b", .class_index = 1},
                                 {.key = "a", .class_index = 2}};
  const auto counts = watch_.Feedback("m", 0, labels);
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(counts->matched, 1);
  EXPECT_EQ(counts->unmatched, 1);
  EXPECT_EQ(counts->invalid, 1);
  EXPECT_EQ(Report(1).labels, 1);
  EXPECT_EQ(Report(2).labels, 1);  // what the shadow computed is judged as well
  EXPECT_EQ(Report(2).accuracy, 1);
  EXPECT_EQ(watch_.Feedback("none", 0, labels).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(EngineShadowTest, ABrokenReferenceIsAnErrorOfTheLoad) {
  root_.Put("m/config.pbtxt", Config());
  root_.Put("m/1/model.onnx", "add 1");
  root_.Put("m/1/reference.npz", "not an archive");
  Open();
  const absl::Status status = repository_->Load("m");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("m/1/reference.npz"));
}

}  // namespace
}  // namespace bitmill
