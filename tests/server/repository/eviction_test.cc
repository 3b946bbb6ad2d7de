// A repository with less memory than its models: they take turns, and nobody who asks notices.
#include <atomic>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/repository/disk_repository.h"
#include "tests/server/repository/fake_models.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kModelBytes = 4;  // AddExecutable::weight_bytes()
constexpr char kPinned[] = "parameters { key: \"evict\" value { string_value: \"off\" } }";

class EvictionTest : public ::testing::Test {
 protected:
  EvictionTest() : metrics_(CreateServerMetrics(HostInfo{})) {}

  // Room for so many models.
  void Open(int64_t models, ControlMode mode = ControlMode::kNone) {
    RepositoryOptions options;
    options.root = root_.path();
    options.mode = mode;
    options.load_threads = 2;
    options.memory.host.bytes = models * kModelBytes;
    auto made = DiskRepository::Create(options, FakeParts(backend_), *metrics_);
    ASSERT_TRUE(made.ok()) << made.status();
    repository_ = *std::move(made);
    repository_->LoadAtStart();
  }
  absl::StatusOr<float> AnswerNow(const std::string& name, int64_t version) {
    const absl::StatusOr<ModelHandle> model = repository_->Find(name, version);
    if (!model.ok()) return model.status();
    (*model)->Use(clock_.Now());
    return Ask(**model, 0);
  }
  // As a request: waits for the model where it is evicted.
  absl::StatusOr<float> Answer(const std::string& name, int64_t version = 0) {
    absl::StatusOr<float> answer = AnswerNow(name, version);
    if (!absl::IsUnavailable(answer.status())) return answer;
    std::binary_semaphore woken(0);
    const bool waits = repository_->Wake(name, [&](const absl::Status& status) {
      answer = status.ok() ? AnswerNow(name, version) : status;
      woken.release();
    });
    if (waits) woken.acquire();
    return answer;
  }
  int Evicted() {
    int count = 0;
    for (const IndexEntry& entry : repository_->Index()) {
      if (entry.state == ModelState::kEvicted) ++count;
    }
    return count;
  }
  MemoryReport::Evictions CountsOf(const std::string& name) {
    for (const auto& model : repository_->Memory().models) {
      if (model.model == name) return model;
    }
    return {};
  }

  SystemClock clock_;
  TemporaryFolder root_;
  FakeBackend backend_;
  std::unique_ptr<ServerMetrics> metrics_;
  std::unique_ptr<DiskRepository> repository_;
};

TEST_F(EvictionTest, MoreModelsThanFitAreAllServed) {
  root_.Put("a/1/model.onnx", "add 1");
  root_.Put("b/1/model.onnx", "add 2");
  root_.Put("c/1/model.onnx", "add 3");
  Open(2);
  EXPECT_TRUE(repository_->AllStartedReady());
  EXPECT_EQ(Evicted(), 1);
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(Answer("a").value(), 1);
    EXPECT_EQ(Answer("b").value(), 2);
    EXPECT_EQ(Answer("c").value(), 3);
    EXPECT_LE(backend_.counts.alive, 3);  // two and the patterns of FakePrepared, which are gone
    EXPECT_EQ(Evicted(), 1);
  }
  EXPECT_EQ(repository_->Memory().devices.front().held_bytes, 2 * kModelBytes);
}

TEST_F(EvictionTest, TheLeastRecentlyUsedGoes) {
  root_.Put("a/1/model.onnx", "add 1");
  root_.Put("b/1/model.onnx", "add 2");
  root_.Put("c/1/model.onnx", "add 3");
  Open(2, ControlMode::kExplicit);
  ASSERT_TRUE(repository_->Load("a").ok());
  ASSERT_TRUE(repository_->Load("b").ok());
  EXPECT_EQ(Answer("b").value(), 2);
  EXPECT_EQ(Answer("a").value(), 1);
  ASSERT_TRUE(repository_->Load("c").ok());
  EXPECT_EQ(CountsOf("b").evictions, 1);
  EXPECT_TRUE(CountsOf("b").evicted);
  EXPECT_EQ(CountsOf("a").evictions, 0);
}

TEST_F(EvictionTest, AnEvictedModelLooksServed) {
  root_.Put("a/3/model.onnx", "add 1");
  root_.Put("b/1/model.onnx", "add 2");
  Open(1, ControlMode::kExplicit);
  ASSERT_TRUE(repository_->Load("a").ok());
  ASSERT_TRUE(repository_->Load("b").ok());
  EXPECT_EQ(repository_->Find("a", 0).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(repository_->Find("a", 2).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(repository_->Describe("a", 0).ok());
  EXPECT_EQ((*repository_->Describe("a", 0))->version, 3);
  EXPECT_EQ((*repository_->Describe("a", 3))->signature.inputs.front().name, "x");
  EXPECT_EQ(repository_->Describe("a", 1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(repository_->DescribeAll("")->size(), 2U);
  EXPECT_EQ(metrics_->ForModel("a", 3).ready, 1);
  EXPECT_EQ(metrics_->ForModel("a", 3).weight_bytes, 0);
}

TEST_F(EvictionTest, AModelInUseIsNotTakenAwayFromItsRequests) {
  root_.Put("a/1/model.onnx", "add 1");
  root_.Put("b/1/model.onnx", "add 2");
  Open(1, ControlMode::kExplicit);
  ASSERT_TRUE(repository_->Load("a").ok());
  absl::StatusOr<ModelHandle> running = repository_->Find("a", 0);
  ASSERT_TRUE(running.ok());
  std::thread load([&] { EXPECT_TRUE(repository_->Load("b").ok()); });
  while (Evicted() == 0) std::this_thread::yield();  // takes no new requests
  EXPECT_EQ(Ask(**running, 0), 1);
  EXPECT_FALSE(repository_->Find("b", 0).ok());
  *running = nullptr;
  load.join();
  EXPECT_EQ(Answer("b").value(), 2);
}

TEST_F(EvictionTest, WhatCannotFitIsRefusedAndNothingIsEvictedForIt) {
  root_.Put("a/1/model.onnx", "add 1");
  root_.Put("pinned/1/model.onnx", "add 2");
  root_.Put("pinned/config.pbtxt", kPinned);
  root_.Put("c/config.pbtxt", kPinned);
  root_.Put("c/1/model.onnx", "add 3");
  Open(2, ControlMode::kExplicit);
  ASSERT_TRUE(repository_->Load("a").ok());
  ASSERT_TRUE(repository_->Load("pinned").ok());
  const absl::Status status = repository_->Load("c");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'pinned' version 1 holds 4 bytes"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("too little for 'a'"));
  EXPECT_EQ(Evicted(), 0);
  EXPECT_EQ(Answer("a").value(), 1);
}

TEST_F(EvictionTest, ReloadsTheVersionsThatWereServedNotNewerOnes) {
  root_.Put("a/1/model.onnx", "add 1");
  root_.Put("b/1/model.onnx", "add 2");
  Open(1, ControlMode::kExplicit);
  ASSERT_TRUE(repository_->Load("a").ok());
  ASSERT_TRUE(repository_->Load("b").ok());
  root_.Put("a/2/model.onnx", "add 10");
  EXPECT_EQ(Answer("a").value(), 1);
  EXPECT_EQ(CountsOf("a").reloads, 1);
}

TEST_F(EvictionTest, AModelThatIsGoneFromDiskIsAnErrorUntilItIsBack) {
  root_.Put("a/1/model.onnx", "add 1");
  root_.Put("b/1/model.onnx", "add 2");
  Open(1, ControlMode::kExplicit);
  ASSERT_TRUE(repository_->Load("a").ok());
  ASSERT_TRUE(repository_->Load("b").ok());
  root_.Put("a/1/model.onnx", "rubbish");
  EXPECT_THAT(std::string(Answer("a").status().message()), HasSubstr("not a model"));
  EXPECT_EQ(CountsOf("a").failed_reloads, 1);
  root_.Put("a/1/model.onnx", "add 5");
  ASSERT_TRUE(repository_->Load("a").ok());
  EXPECT_EQ(Answer("a").value(), 5);
}

TEST_F(EvictionTest, AnEvictedModelCanBeUnloaded) {
  root_.Put("a/1/model.onnx", "add 1");
  root_.Put("b/1/model.onnx", "add 2");
  Open(1, ControlMode::kExplicit);
  ASSERT_TRUE(repository_->Load("a").ok());
  ASSERT_TRUE(repository_->Load("b").ok());
  ASSERT_TRUE(repository_->Unload("a").ok());
  EXPECT_EQ(Answer("a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(metrics_->ForModel("a", 1).ready, 0);
  EXPECT_EQ(Evicted(), 0);
}

TEST_F(EvictionTest, StoppingTellsThoseWhoWait) {
  root_.Put("a/1/model.onnx", "add 1");
  root_.Put("b/1/model.onnx", "add 2");
  Open(1, ControlMode::kExplicit);
  ASSERT_TRUE(repository_->Load("a").ok());
  ASSERT_TRUE(repository_->Load("b").ok());
  absl::StatusOr<ModelHandle> running = repository_->Find("b", 0);
  ASSERT_TRUE(running.ok());
  std::binary_semaphore told(0);
  ASSERT_TRUE(repository_->Wake("a", [&](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    told.release();
  }));
  std::thread stop([&] { repository_->Stop(); });
  told.acquire();
  *running = nullptr;
  stop.join();
}

// Every thread wants another model, two of five fit, and every question has its answer.
TEST_F(EvictionTest, NothingIsLostWhileModelsTakeTurnsUnderLoad) {
  constexpr int kModels = 5;
  for (int i = 1; i <= kModels; ++i) {
    root_.Put(absl::StrCat("m", i, "/1/model.onnx"), absl::StrCat("add ", i));
  }
  Open(2);
  std::vector<std::thread> threads;
  std::atomic<int> answered{0};
  for (int t = 1; t <= kModels; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 40; ++i) {
        const int model = 1 + (t + i / 8) % kModels;
        const absl::StatusOr<float> answer = Answer(absl::StrCat("m", model));
        ASSERT_TRUE(answer.ok()) << answer.status();
        EXPECT_EQ(*answer, static_cast<float>(model));
        ++answered;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, kModels * 40);
  EXPECT_LE(repository_->Memory().devices.front().held_bytes, 2 * kModelBytes);
}

}  // namespace
}  // namespace bitmill
