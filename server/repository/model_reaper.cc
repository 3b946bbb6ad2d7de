#include "server/repository/model_reaper.h"

#include <utility>

#include "base/clock.h"
#include "base/this_thread.h"

namespace bitmill {
namespace {

using Corpse = std::pair<int64_t, std::unique_ptr<const ServedModel>>;

constexpr int64_t kNanosPerSecond = 1'000'000'000;

}  // namespace

// Shared with the deleters, which may outlive the reaper.
struct ModelReaper::State {
  Mutex mutex;
  CondVar changed;
  int64_t last_id ABSL_GUARDED_BY(mutex) = 0;
  std::set<int64_t> alive ABSL_GUARDED_BY(mutex);
  std::deque<Corpse> waiting ABSL_GUARDED_BY(mutex);
  bool stop ABSL_GUARDED_BY(mutex) = false;

  // The last handle is gone.
  void Take(int64_t id, std::unique_ptr<const ServedModel> model) {
    MutexLock lock(&mutex);
    if (stop && alive.empty()) return;  // nobody is left to do it: destroyed by the caller, here
    waiting.emplace_back(id, std::move(model));
    changed.NotifyAll();
  }
};

ModelReaper::ModelReaper() : state_(std::make_shared<State>()), thread_([this] { Run(*state_); }) {}

ModelReaper::~ModelReaper() {
  {
    MutexLock lock(&state_->mutex);
    state_->stop = true;
    state_->changed.NotifyAll();
  }
  thread_.join();
}

ModelReaper::Owned ModelReaper::Adopt(std::unique_ptr<const ServedModel> model) {
  Owned owned;
  {
    MutexLock lock(&state_->mutex);
    owned.id = ++state_->last_id;
    state_->alive.insert(owned.id);
  }
  owned.handle =
      ModelHandle(model.release(), [state = state_, id = owned.id](const ServedModel* last) {
        state->Take(id, std::unique_ptr<const ServedModel>(last));
      });
  return owned;
}

bool ModelReaper::WaitUntilGone(int64_t id, double seconds) {
  const SystemClock clock;
  const int64_t end =
      clock.Now() + static_cast<int64_t>(seconds * static_cast<double>(kNanosPerSecond));
  MutexLock lock(&state_->mutex);
  while (state_->alive.contains(id)) {
    const int64_t left = end - clock.Now();
    if (left <= 0) return false;
    state_->changed.WaitFor(&state_->mutex, left);
  }
  return true;
}

void ModelReaper::Run(State& state) {
  NameThisThread("reaper");
  const SystemClock clock;
  int64_t stop_at = 0;
  state.mutex.Lock();
  while (true) {
    if (!state.waiting.empty()) {
      Corpse corpse = std::move(state.waiting.front());
      state.waiting.pop_front();
      state.mutex.Unlock();
      if (corpse.second->runtime != nullptr) corpse.second->runtime->Drain();
      corpse.second.reset();
      state.mutex.Lock();
      state.alive.erase(corpse.first);
      state.changed.NotifyAll();
    } else if (!state.stop) {
      state.changed.Wait(&state.mutex);
    } else if (state.alive.empty()) {
      break;
    } else {
      if (stop_at == 0) {
        stop_at = clock.Now() + static_cast<int64_t>(kStopSeconds) * kNanosPerSecond;
      }
      const int64_t left = stop_at - clock.Now();
      if (left <= 0) {
        state.alive.clear();
        break;
      }
      state.changed.WaitFor(&state.mutex, left);
    }
  }
  state.mutex.Unlock();
}

}  // namespace bitmill
