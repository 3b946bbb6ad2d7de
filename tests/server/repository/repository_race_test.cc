// Threads that load, unload, replace and ask at once. Every answer must belong to a version that
// was ready at some moment between the question and the answer.
#include <atomic>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "server/repository/disk_repository.h"
#include "tests/server/repository/fake_models.h"

namespace bitmill {
namespace {

// What happened, in the order of one counter.
class History {
 public:
  int64_t Now() { return ++clock_; }
  // A version may be served from before its load begins to return until after its replacement or
  // unload has returned.
  void Served(float bias, int64_t from) {
    const std::lock_guard lock(mutex_);
    intervals_.push_back({bias, from, INT64_MAX});
  }
  void Gone(float bias, int64_t until) {
    const std::lock_guard lock(mutex_);
    for (Interval& interval : intervals_) {
      if (interval.bias == bias && interval.until == INT64_MAX) interval.until = until;
    }
  }
  void Answered(float bias, int64_t asked, int64_t answered) {
    const std::lock_guard lock(mutex_);
    answers_.push_back({bias, asked, answered});
  }
  // How many answers no interval explains.
  int Unexplained() const {
    int count = 0;
    for (const Answer& answer : answers_) {
      bool explained = false;
      for (const Interval& interval : intervals_) {
        explained |= interval.bias == answer.bias && interval.from <= answer.answered &&
                     answer.asked <= interval.until;
      }
      if (!explained) ++count;
    }
    return count;
  }
  size_t answers() const { return answers_.size(); }

 private:
  struct Interval {
    float bias;
    int64_t from, until;
  };
  struct Answer {
    float bias;
    int64_t asked, answered;
  };
  std::atomic<int64_t> clock_{0};
  std::mutex mutex_;
  std::deque<Interval> intervals_;
  std::deque<Answer> answers_;
};

std::unique_ptr<DiskRepository> Open(const TemporaryFolder& root, const FakeBackend& backend,
                                     ServerMetrics& metrics) {
  RepositoryOptions options;
  options.root = root.path();
  options.mode = ControlMode::kExplicit;
  auto repository = DiskRepository::Create(options, FakeParts(backend), metrics);
  EXPECT_TRUE(repository.ok());
  (*repository)->LoadAtStart();
  return *std::move(repository);
}

TEST(RepositoryRaceTest, EveryAnswerBelongsToAVersionThatWasReady) {
  TemporaryFolder root;
  FakeBackend backend;
  const auto metrics = CreateServerMetrics(HostInfo{});
  const auto repository = Open(root, backend, *metrics);
  History history;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        const int64_t asked = history.Now();
        const auto model = repository->Find("m", 0);
        if (!model.ok()) {
          EXPECT_TRUE(absl::IsNotFound(model.status()) || absl::IsUnavailable(model.status()));
          std::this_thread::yield();
          continue;
        }
        const float bias = Ask(**model, 0);
        history.Answered(bias, asked, history.Now());
      }
    });
  }
  float serving = 0;
  for (int step = 1; step <= 150; ++step) {
    if (step % 5 == 0) {
      ASSERT_TRUE(repository->Unload("m").ok());
      history.Gone(serving, history.Now());
      continue;
    }
    const auto bias = static_cast<float>(step);
    root.Put("m/1/model.onnx", absl::StrCat("add ", bias));
    history.Served(bias, history.Now());
    ASSERT_TRUE(repository->Load("m").ok());
    history.Gone(serving, history.Now());
    serving = bias;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(history.answers(), 0U);
  EXPECT_EQ(history.Unexplained(), 0);
}

TEST(RepositoryRaceTest, AReplacementNeverLeavesAGap) {
  TemporaryFolder root;
  root.Put("m/1/model.onnx", "add 1");
  FakeBackend backend;
  const auto metrics = CreateServerMetrics(HostInfo{});
  const auto repository = Open(root, backend, *metrics);
  ASSERT_TRUE(repository->Load("m").ok());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      float last = 0;
      while (!stop) {
        const auto model = repository->Find("m", 0);
        ASSERT_TRUE(model.ok()) << model.status();
        const float bias = Ask(**model, 0);
        EXPECT_GE(bias, last);  // never back to an older one
        last = bias;
      }
    });
  }
  for (int step = 2; step <= 100; ++step) {
    root.Put(absl::StrCat("m/", step, "/model.onnx"), absl::StrCat("add ", step));
    ASSERT_TRUE(repository->Load("m").ok());
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

TEST(RepositoryRaceTest, AnyMixtureOfCallsEndsWithEverythingFreed) {
  constexpr int kModels = 3;
  TemporaryFolder root;
  for (int m = 0; m < kModels; ++m) root.Put(absl::StrCat("m", m, "/1/model.onnx"), "add 1");
  FakeBackend backend;
  const auto metrics = CreateServerMetrics(HostInfo{});
  auto repository = Open(root, backend, *metrics);
  std::atomic<int> changes{0};
  repository->SetChangeListener([&] { ++changes; });
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        const std::string name = absl::StrCat("m", (t + i) % kModels);
        switch ((t * 7 + i) % 6) {
          case 0:
          case 1:
            EXPECT_TRUE(repository->Load(name).ok());
            break;
          case 2:
            EXPECT_TRUE(repository->Unload(name).ok());
            break;
          case 3:
            static_cast<void>(repository->Index());
            static_cast<void>(repository->AllReady());
            break;
          default:
            if (const auto model = repository->Find(name, 1); model.ok()) {
              EXPECT_EQ(Ask(**model, 1), 2);
            }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(changes, 0);
  for (int m = 0; m < kModels; ++m) {
    EXPECT_TRUE(repository->Load(absl::StrCat("m", m)).ok());
    EXPECT_TRUE(repository->Find(absl::StrCat("m", m), 0).ok());
  }
  repository.reset();
  EXPECT_EQ(backend.counts.alive, 0);
}

}  // namespace
}  // namespace bitmill
