// Threads that help all the time, for tests: nothing stands between the threads but the board, so
// that ThreadSanitizer sees everything.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "base/fork_join.h"
#include "server/schedule/helper_board.h"

namespace bitmill {

class ThreadTeam final : public ForkJoin {
 public:
  explicit ThreadTeam(int width, int places = 8) : width_(width), board_(places) {
    for (int i = 1; i < width; ++i) {
      threads_.emplace_back([this] {
        const auto nothing = [] {};
        while (!stop_.load()) {
          if (board_.Help([this] { helped.fetch_add(1); }, nothing)) continue;
          std::this_thread::yield();
        }
      });
    }
  }

  ~ThreadTeam() override {
    stop_.store(true);
    for (std::thread& thread : threads_) thread.join();
  }

  int width() const override { return width_; }
  int Enter(int /*width*/) override { return board_.Enter(); }
  void Leave(int place) override { board_.Leave(place); }
  bool Call(int /*place*/, int /*width*/) override { return true; }
  void Run(int place, int width, absl::FunctionRef<void(int slot)> work) override {
    shared.fetch_add(1);
    board_.Run(place, width, work);
  }

  std::atomic<int> shared{0};  // calls of Run()
  std::atomic<int> helped{0};  // by another thread

 private:
  const int width_;
  HelperBoard board_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

// Another order: every slot runs on the calling thread, the last one first.
class BackwardTeam final : public ForkJoin {
 public:
  explicit BackwardTeam(int width) : width_(width) {}

  int width() const override { return width_; }
  int Enter(int /*width*/) override { return 0; }
  void Leave(int /*place*/) override {}
  bool Call(int /*place*/, int /*width*/) override { return true; }
  void Run(int /*place*/, int width, absl::FunctionRef<void(int slot)> work) override {
    ++shared;
    for (int slot = width - 1; slot >= 0; --slot) work(slot);
  }

  int shared = 0;

 private:
  const int width_;
};

}  // namespace bitmill
