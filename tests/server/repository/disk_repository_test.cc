#include "server/repository/disk_repository.h"

#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/repository/fake_models.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

class DiskRepositoryTest : public ::testing::Test {
 protected:
  DiskRepositoryTest() : metrics_(CreateServerMetrics(HostInfo{})) {}

  DiskRepository& Open(ControlMode mode = ControlMode::kExplicit,
                       std::vector<std::string> load_at_start = {}) {
    RepositoryOptions options;
    options.root = root_.path();
    options.mode = mode;
    options.load_at_start = std::move(load_at_start);
    options.poll_seconds = 3600;  // tests look themselves
    options.load_threads = 2;
    auto made = DiskRepository::Create(options, FakeParts(backend_), *metrics_);
    EXPECT_TRUE(made.ok()) << made.status();
    repository_ = *std::move(made);
    repository_->LoadAtStart();
    return *repository_;
  }
  float Answer(const std::string& name, int64_t version = 0) {
    const auto model = repository_->Find(name, version);
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? Ask(**model, 0) : -1;
  }
  IndexEntry IndexOf(const std::string& name, int64_t version) {
    for (const IndexEntry& entry : repository_->Index()) {
      if (entry.name == name && entry.version == version) return entry;
    }
    ADD_FAILURE() << name << " " << version << " is not in the index";
    return {};
  }

  TemporaryFolder root_;
  FakeBackend backend_;
  std::unique_ptr<ServerMetrics> metrics_;
  std::unique_ptr<DiskRepository> repository_;
};

TEST_F(DiskRepositoryTest, NeedsAFolder) {
  RepositoryOptions options;
  options.root = root_.path() + "/none";
  EXPECT_EQ(DiskRepository::Create(options, FakeParts(backend_), *metrics_).status().code(),
            absl::StatusCode::kNotFound);
  root_.Put("file", "");
  options.root = root_.path() + "/file";
  EXPECT_EQ(DiskRepository::Create(options, FakeParts(backend_), *metrics_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(DiskRepositoryTest, LoadsEverythingAtStart) {
  root_.Put("a/1/model.onnx", "add 1");
  root_.Put("b/2/model.onnx", "add 2");
  Open(ControlMode::kNone);
  EXPECT_TRUE(repository_->Started());
  EXPECT_TRUE(repository_->AllStartedReady());
  EXPECT_EQ(Answer("a"), 1);
  EXPECT_EQ(Answer("b", 2), 2);
  EXPECT_EQ(repository_->AllReady().size(), 2U);
  EXPECT_EQ(metrics_->ForModel("a", 1).ready, 1);
  EXPECT_GT(metrics_->ForModel("b", 2).load_ns, 0);
  EXPECT_EQ(metrics_->ForModel("b", 2).plan_from_file, 0);
}

TEST_F(DiskRepositoryTest, MetricsKnowTheObjectiveOfTheLastLoad) {
  root_.Put("m/1/model.onnx", "add 1");
  root_.Put("m/config.pbtxt", "parameters { key: \"slo_p99_ms\" value { string_value: \"2.5\" } }");
  Open(ControlMode::kNone);
  EXPECT_EQ(metrics_->ForModel("m", 1).objective_ns, 2'500'000);
}

TEST_F(DiskRepositoryTest, ABrokenModelDoesNotDisturbTheOthers) {
  root_.Put("good/1/model.onnx", "add 1");
  root_.Put("broken/1/model.onnx", "rubbish");
  root_.Put("config/1/model.onnx", "add 1");
  root_.Put("config/config.pbtxt", "name: \"config\"\nmax_batch_size: \"many\"");
  root_.Put("memory/1/model.onnx", "throw");
  root_.Put("empty/readme", "");
  Open(ControlMode::kNone);
  EXPECT_EQ(Answer("good"), 1);
  EXPECT_TRUE(repository_->Started());
  EXPECT_FALSE(repository_->AllStartedReady());
  EXPECT_THAT(IndexOf("broken", 1).reason, HasSubstr("broken/1/model.onnx: byte 0"));
  EXPECT_THAT(IndexOf("config", 1).reason, HasSubstr("config/config.pbtxt:2:17"));
  EXPECT_THAT(IndexOf("memory", 1).reason, HasSubstr("out of memory"));
  EXPECT_THAT(IndexOf("empty", 0).reason, HasSubstr("no version folder"));
  EXPECT_EQ(IndexOf("good", 1).state, ModelState::kReady);
  EXPECT_EQ(repository_->Find("broken", 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(metrics_->RenderText(),
              HasSubstr("bitmill_model_ready{model=\"broken\",version=\"1\"} 0\n"));
}

TEST_F(DiskRepositoryTest, IsAllReadyOnceTheBrokenModelIsMended) {
  root_.Put("m/1/model.onnx", "rubbish");
  Open(ControlMode::kExplicit, {"m"});
  EXPECT_FALSE(repository_->AllStartedReady());
  root_.Put("m/1/model.onnx", "add 1");
  EXPECT_TRUE(repository_->Load("m").ok());
  EXPECT_TRUE(repository_->AllStartedReady());
}

TEST_F(DiskRepositoryTest, LoadsOnlyWhatIsAskedForInExplicitMode) {
  root_.Put("a/1/model.onnx", "add 1");
  root_.Put("b/1/model.onnx", "add 2");
  Open(ControlMode::kExplicit, {"b", "b"});
  EXPECT_EQ(Answer("b"), 2);
  EXPECT_EQ(repository_->Find("a", 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(IndexOf("a", 1).reason, "not loaded");
  EXPECT_EQ(backend_.counts.compiled, 1);
}

TEST_F(DiskRepositoryTest, AStarLoadsAllInExplicitMode) {
  root_.Put("a/1/model.onnx", "add 1");
  root_.Put("b/1/model.onnx", "add 2");
  Open(ControlMode::kExplicit, {"*"});
  EXPECT_EQ(repository_->AllReady().size(), 2U);
}

TEST_F(DiskRepositoryTest, ServesTheNewestVersionUnlessThePolicySaysOtherwise) {
  for (const int version : {1, 2, 10}) {
    root_.Put("m/" + std::to_string(version) + "/model.onnx", "add " + std::to_string(version));
  }
  Open(ControlMode::kExplicit, {"m"});
  EXPECT_EQ(Answer("m"), 10);
  EXPECT_EQ(repository_->Find("m", 1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(repository_->Find("m", 1).status().message()), HasSubstr("ready: 10"));
  root_.Put("m/config.pbtxt", "version_policy { all { } }");
  ASSERT_TRUE(repository_->Load("m").ok());
  EXPECT_EQ(repository_->Versions("m")->size(), 3U);
  EXPECT_EQ(Answer("m", 1), 1);
  root_.Put("m/config.pbtxt", "version_policy { latest { num_versions: 2 } }");
  ASSERT_TRUE(repository_->Load("m").ok());
  EXPECT_EQ(repository_->Versions("m")->size(), 2U);
  EXPECT_EQ(IndexOf("m", 1).reason, "not selected by the version policy");
  root_.Put("m/config.pbtxt", "version_policy { specific { versions: [1, 7] } }");
  EXPECT_THAT(std::string(repository_->Load("m").message()), HasSubstr("no folder for version 7"));
  EXPECT_EQ(Answer("m"), 1);
}

TEST_F(DiskRepositoryTest, LoadingAgainWithoutAChangeDoesNothing) {
  root_.Put("m/1/model.onnx", "add 1");
  Open(ControlMode::kExplicit, {"m"});
  const ModelHandle before = *repository_->Find("m", 0);
  ASSERT_TRUE(repository_->Load("m").ok());
  EXPECT_EQ(*repository_->Find("m", 0), before);
  EXPECT_EQ(backend_.counts.compiled, 1);
}

TEST_F(DiskRepositoryTest, ReplacesAVersionWhileItsOldHandleWorksOn) {
  root_.Put("m/1/model.onnx", "add 1");
  Open(ControlMode::kExplicit, {"m"});
  ModelHandle old = *repository_->Find("m", 0);
  root_.Put("m/1/model.onnx", "add 100");
  ASSERT_TRUE(repository_->Load("m").ok());
  EXPECT_EQ(Answer("m"), 100);
  EXPECT_EQ(Ask(*old, 0), 1);
  EXPECT_EQ(backend_.counts.alive, 2);
  old.reset();
  ASSERT_TRUE(repository_->Unload("m").ok());
  repository_.reset();
  EXPECT_EQ(backend_.counts.alive, 0);
  EXPECT_EQ(backend_.counts.drains, 2);
}

TEST_F(DiskRepositoryTest, KeepsServingTheOldVersionWhenTheNewOneIsBroken) {
  root_.Put("m/1/model.onnx", "add 1");
  Open(ControlMode::kExplicit, {"m"});
  root_.Put("m/2/model.onnx", "rubbish");
  EXPECT_THAT(std::string(repository_->Load("m").message()), HasSubstr("m/2/model.onnx"));
  EXPECT_EQ(Answer("m"), 1);
  EXPECT_THAT(IndexOf("m", 2).reason, HasSubstr("m/2/model.onnx"));
  EXPECT_EQ(IndexOf("m", 1).state, ModelState::kReady);
  root_.Put("m/1/model.onnx", "rubbish");  // now nothing on disk is intact
  EXPECT_FALSE(repository_->Load("m").ok());
  EXPECT_EQ(Answer("m"), 1);
  root_.Put("m/config.pbtxt", "nonsense");
  EXPECT_FALSE(repository_->Load("m").ok());
  EXPECT_EQ(Answer("m"), 1);
  EXPECT_EQ(metrics_->ForModel("m", 1).ready, 1);
}

TEST_F(DiskRepositoryTest, StartsWithTheNewestIntactVersion) {
  root_.Put("m/1/model.onnx", "add 1");
  root_.Put("m/2/model.onnx", "rubbish");
  Open(ControlMode::kNone);
  EXPECT_EQ(Answer("m"), 1);
  EXPECT_TRUE(repository_->AllStartedReady());
}

TEST_F(DiskRepositoryTest, UnloadFreesTheMemory) {
  root_.Put("m/1/model.onnx", "add 1");
  Open(ControlMode::kExplicit, {"m"});
  ASSERT_TRUE(repository_->Unload("m").ok());
  EXPECT_EQ(backend_.counts.alive, 0);
  EXPECT_EQ(backend_.counts.drains, 1);
  EXPECT_EQ(repository_->Find("m", 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(repository_->Find("m", 0).status().message()), HasSubstr("'m'"));
  EXPECT_EQ(IndexOf("m", 1).reason, "unloaded");
  EXPECT_EQ(metrics_->ForModel("m", 1).ready, 0);
  ASSERT_TRUE(repository_->Load("m").ok());
  EXPECT_EQ(Answer("m"), 1);
}

TEST_F(DiskRepositoryTest, UnloadOfWhatIsNotLoadedIsHarmless) {
  Open();
  EXPECT_TRUE(repository_->Unload("nobody").ok());
  EXPECT_TRUE(repository_->Index().empty());
}

TEST_F(DiskRepositoryTest, RefusesNamesThatAreNoFolder) {
  Open();
  for (const char* name : {"", "..", "a/b", ".git", "/etc"}) {
    EXPECT_EQ(repository_->Load(name).code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(repository_->Unload(name).code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(repository_->Load("nobody").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(repository_->Find("nobody", 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(repository_->Index().empty());
}

TEST_F(DiskRepositoryTest, UsesTheModelFileThatTheConfigurationNames) {
  root_.Put("m/1/net.onnx", "add 3");
  root_.Put("m/config.pbtxt", "default_model_filename: \"net.onnx\"");
  Open();
  ASSERT_TRUE(repository_->Load("m").ok());
  EXPECT_EQ(Answer("m"), 3);
  ASSERT_TRUE(repository_->Unload("m").ok());
  EXPECT_EQ(IndexOf("m", 1).reason, "unloaded");
}

TEST_F(DiskRepositoryTest, TellsAListenerAfterEachChange) {
  root_.Put("m/1/model.onnx", "add 1");
  Open();
  int changes = 0;
  repository_->SetChangeListener([&] { ++changes; });
  ASSERT_TRUE(repository_->Load("m").ok());
  EXPECT_EQ(changes, 1);
  ASSERT_TRUE(repository_->Unload("m").ok());
  EXPECT_EQ(changes, 2);
  repository_->SetChangeListener(nullptr);
  ASSERT_TRUE(repository_->Load("m").ok());
  EXPECT_EQ(changes, 2);
}

TEST_F(DiskRepositoryTest, LoadsNothingOnceStopped) {
  root_.Put("m/1/model.onnx", "add 1");
  Open();
  repository_->Stop();
  EXPECT_EQ(repository_->Load("m").code(), absl::StatusCode::kUnavailable);
}

TEST_F(DiskRepositoryTest, AHandleMayOutliveTheRepository) {
  root_.Put("m/1/model.onnx", "add 1");
  Open(ControlMode::kExplicit, {"m"});
  ModelHandle handle = *repository_->Find("m", 0);
  std::thread release([moved = std::move(handle)]() mutable {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(Ask(*moved, 0), 1);
    moved.reset();
  });
  repository_.reset();  // waits for it
  EXPECT_EQ(backend_.counts.alive, 0);
  release.join();
}

// ------------------------------------------------------------------------------------- polling

TEST_F(DiskRepositoryTest, PollingTakesAChangeWhenItWasSeenTwice) {
  root_.Put("a/1/model.onnx", "add 1");
  Open(ControlMode::kPoll);
  root_.Put("b/1/model.onnx", "add 2");
  EXPECT_TRUE(repository_->PollOnce());
  EXPECT_EQ(repository_->Find("b", 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(repository_->PollOnce());
  EXPECT_EQ(Answer("b"), 2);
  root_.Put("a/2/model.onnx", "add 5");
  repository_->PollOnce();
  EXPECT_EQ(Answer("a"), 1);
  repository_->PollOnce();
  EXPECT_EQ(Answer("a"), 5);
}

TEST_F(DiskRepositoryTest, PollingWaitsWhileAFileGrows) {
  Open(ControlMode::kPoll);
  for (const char* part : {"a", "add", "add 1"}) {
    root_.Put("m/1/model.onnx", part);
    EXPECT_TRUE(repository_->PollOnce());
  }
  EXPECT_FALSE(repository_->PollOnce());
  EXPECT_EQ(Answer("m"), 1);
}

TEST_F(DiskRepositoryTest, PollingTriesABrokenFileOnce) {
  root_.Put("m/1/model.onnx", "add 1");
  Open(ControlMode::kPoll);
  root_.Put("m/1/model.onnx", "uncompilable");
  repository_->PollOnce();
  repository_->PollOnce();
  EXPECT_EQ(Answer("m"), 1);
  EXPECT_FALSE(repository_->PollOnce());
  EXPECT_THAT(repository_->Load("m").message().data(), HasSubstr("Strange"));
}

TEST_F(DiskRepositoryTest, PollingUnloadsWhatIsGone) {
  root_.Put("m/1/model.onnx", "add 1");
  Open(ControlMode::kPoll);
  root_.Remove("m");
  EXPECT_TRUE(repository_->PollOnce());
  EXPECT_EQ(Answer("m"), 1);
  EXPECT_FALSE(repository_->PollOnce());
  EXPECT_EQ(repository_->Find("m", 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(backend_.counts.alive, 0);
  EXPECT_TRUE(repository_->Index().empty());
}

TEST_F(DiskRepositoryTest, PollingReloadsWhenTheConfigurationChanges) {
  root_.Put("m/1/model.onnx", "add 1");
  Open(ControlMode::kPoll);
  root_.Put("m/config.pbtxt", "max_batch_size: 8");
  repository_->PollOnce();
  repository_->PollOnce();
  EXPECT_EQ((*repository_->Find("m", 0))->settings.max_batch_size, 8);
}

// --------------------------------------------------------------------------------- a held-back
// version

constexpr char kHoldsBack[] = R"(parameters { key: "shadow" value { string_value: "on" } })";

TEST_F(DiskRepositoryTest, HoldsTheNewestVersionBackUntilItIsPromoted) {
  root_.Put("m/config.pbtxt", kHoldsBack);
  root_.Put("m/1/model.onnx", "add 1");
  Open(ControlMode::kNone);
  EXPECT_EQ(Answer("m"), 1);
  EXPECT_EQ(repository_->Answering("m")->answering, 1);
  EXPECT_EQ(repository_->Answering("m")->shadow, 0);

  root_.Put("m/2/model.onnx", "add 2");
  ASSERT_TRUE(repository_->Load("m").ok());
  EXPECT_EQ(Answer("m"), 1);
  EXPECT_EQ(Answer("m", 2), 2);  // who names it gets it
  EXPECT_EQ(repository_->Answering("m")->answering, 1);
  EXPECT_EQ(repository_->Answering("m")->shadow, 2);

  // Another takes the shadow's place; the one that answers stays, though it is not of the newest 2.
  root_.Put("m/3/model.onnx", "add 3");
  ASSERT_TRUE(repository_->Load("m").ok());
  EXPECT_EQ(Answer("m"), 1);
  EXPECT_EQ(repository_->Answering("m")->shadow, 3);

  ASSERT_TRUE(repository_->Promote("m", 3).ok());
  EXPECT_EQ(Answer("m"), 3);
  EXPECT_EQ(repository_->Answering("m")->shadow, 0);
  // And back.
  ASSERT_TRUE(repository_->Promote("m", 1).ok());
  EXPECT_EQ(Answer("m"), 1);
  EXPECT_EQ(repository_->Answering("m")->shadow, 3);
}

TEST_F(DiskRepositoryTest, RemembersAPromotionOverARestart) {
  root_.Put("m/config.pbtxt", kHoldsBack);
  root_.Put("m/1/model.onnx", "add 1");
  root_.Put("m/2/model.onnx", "add 2");
  Open(ControlMode::kNone);
  EXPECT_EQ(Answer("m"), 1);  // the newest but one, at a first start
  ASSERT_TRUE(repository_->Promote("m", 2).ok());
  Open(ControlMode::kNone);
  EXPECT_EQ(Answer("m"), 2);
  root_.Put("m/3/model.onnx", "add 3");
  Open(ControlMode::kNone);
  EXPECT_EQ(Answer("m"), 2);
  EXPECT_EQ(repository_->Answering("m")->shadow, 3);
  root_.Put("m/promoted_version", "two");  // is reported and ignored
  Open(ControlMode::kNone);
  EXPECT_EQ(Answer("m"), 2);
}

TEST_F(DiskRepositoryTest, PromotesOnlyWhatIsReadyAndHeldBack) {
  root_.Put("m/config.pbtxt", kHoldsBack);
  root_.Put("m/1/model.onnx", "add 1");
  root_.Put("plain/1/model.onnx", "add 1");
  Open(ControlMode::kNone);
  EXPECT_EQ(repository_->Promote("m", 2).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(repository_->Promote("none", 1).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(repository_->Promote("../m", 1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(repository_->Promote("plain", 1).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(repository_->Promote("m", 1).ok());
  EXPECT_EQ(repository_->Answering("plain")->answering, 1);
  EXPECT_EQ(repository_->Answering("none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(DiskRepositoryTest, AVersionThatAnswersAndIsRemovedGivesWay) {
  root_.Put("m/config.pbtxt", kHoldsBack);
  root_.Put("m/1/model.onnx", "add 1");
  root_.Put("m/2/model.onnx", "add 2");
  Open(ControlMode::kNone);
  root_.Remove("m/1");
  ASSERT_TRUE(repository_->Load("m").ok());
  EXPECT_EQ(Answer("m"), 2);
}

}  // namespace
}  // namespace bitmill
