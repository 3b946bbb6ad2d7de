#include "server/repository/model_waker.h"

#include <atomic>
#include <semaphore>
#include <string>

#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"

namespace bitmill {
namespace {

using Handles = absl::StatusOr<std::vector<ModelHandle>>;

TEST(ModelWakerTest, OneLoadServesAllWhoWait) {
  FakeClock clock;
  std::atomic<int> loads{0};
  std::counting_semaphore<> may_load(0), told(0);
  ModelWaker waker(
      [&](const std::string&) -> Handles {
        ++loads;
        may_load.acquire();
        return std::vector<ModelHandle>{};
      },
      2, clock);
  for (int i = 0; i < 20; ++i) {
    waker.Wake("m", [&](const absl::Status& status) {
      EXPECT_TRUE(status.ok()) << status;
      told.release();
    });
  }
  may_load.release();
  for (int i = 0; i < 20; ++i) told.acquire();
  EXPECT_EQ(loads, 1);
}

TEST(ModelWakerTest, AModelDoesNotWaitForAnothersLoad) {
  FakeClock clock;
  std::counting_semaphore<> slow_may_load(0), told(0);
  ModelWaker waker(
      [&](const std::string& name) -> Handles {
        if (name == "slow") slow_may_load.acquire();
        return std::vector<ModelHandle>{};
      },
      2, clock);
  waker.Wake("slow", [&](const absl::Status&) { told.release(); });
  waker.Wake("quick", [&](const absl::Status&) { told.release(); });
  told.acquire();  // hangs if quick had to wait
  slow_may_load.release();
  told.acquire();
}

TEST(ModelWakerTest, TheModelIsHeldWhileThoseWhoWaitedAreTold) {
  FakeClock clock;
  std::counting_semaphore<> told(0);
  std::weak_ptr<const ServedModel> model;
  ModelWaker waker(
      [&](const std::string&) -> Handles {
        auto made = std::make_shared<const ServedModel>();
        model = made;
        return std::vector<ModelHandle>{made};
      },
      1, clock);
  waker.Wake("m", [&](const absl::Status&) {
    EXPECT_FALSE(model.expired());
    told.release();
  });
  told.acquire();
}

TEST(ModelWakerTest, AFailureIsNotTriedAgainForASecond) {
  FakeClock clock;
  std::atomic<int> loads{0};
  std::counting_semaphore<> told(0);
  ModelWaker waker(
      [&](const std::string&) -> Handles {
        ++loads;
        return absl::DataLossError("torn");
      },
      1, clock);
  const auto wake = [&] {
    waker.Wake("m", [&](const absl::Status& status) {
      EXPECT_EQ(status.message(), "torn");
      told.release();
    });
    told.acquire();
  };
  wake();
  wake();
  EXPECT_EQ(loads, 1);
  clock.Advance(1'000'000'001);
  wake();
  EXPECT_EQ(loads, 2);
}

TEST(ModelWakerTest, StoppingTellsThoseWhoWait) {
  FakeClock clock;
  std::counting_semaphore<> loading(0), may_load(0);
  std::atomic<int> told{0}, unavailable{0};
  ModelWaker waker(
      [&](const std::string&) -> Handles {
        loading.release();
        may_load.acquire();
        return std::vector<ModelHandle>{};
      },
      1, clock);
  const auto tell = [&](const absl::Status& status) {
    ++told;
    if (absl::IsUnavailable(status)) ++unavailable;
  };
  waker.Wake("running", tell);
  loading.acquire();
  waker.Wake("waiting", tell);
  std::thread stop([&] { waker.Stop(); });
  while (unavailable == 0) std::this_thread::yield();
  may_load.release();
  stop.join();
  EXPECT_EQ(told, 2);
  waker.Wake("late", tell);
  EXPECT_EQ(unavailable, 2);
}

}  // namespace
}  // namespace bitmill
