#include "server/repository/model_waker.h"

#include <utility>

#include "base/this_thread.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kFailureNanos = 1'000'000'000;

}  // namespace

ModelWaker::ModelWaker(Reload reload, int threads, const Clock& clock)
    : reload_(std::move(reload)), max_threads_(static_cast<size_t>(threads)), clock_(clock) {}

void ModelWaker::Wake(const std::string& name, ModelRepository::Woken then) {
  {
    const MutexLock lock(&mutex_);
    if (!stop_) {
      std::vector<ModelRepository::Woken>& waiting = waiting_[name];
      waiting.push_back(std::move(then));
      if (waiting.size() > 1) return;  // is in names_, or being loaded
      names_.push_back(name);
      if (names_.size() > idle_ && threads_.size() < max_threads_) {
        threads_.emplace_back([this] { Run(); });
      }
      changed_.NotifyOne();
      return;
    }
  }
  then(absl::UnavailableError("the server is shutting down"));
}

void ModelWaker::Stop() {
  std::map<std::string, std::vector<ModelRepository::Woken>> left;
  std::vector<std::thread> threads;
  {
    const MutexLock lock(&mutex_);
    stop_ = true;
    for (const std::string& name : names_) {
      if (auto waiting = waiting_.extract(name)) left.insert(std::move(waiting));
    }
    names_.clear();
    threads.swap(threads_);
    changed_.NotifyAll();
  }
  for (const auto& [name, waiting] : left) {
    for (const auto& then : waiting) then(absl::UnavailableError("the server is shutting down"));
  }
  for (std::thread& thread : threads) thread.join();
}

absl::StatusOr<std::vector<ModelHandle>> ModelWaker::LoadOrFail(const std::string& name) {
  {
    const MutexLock lock(&mutex_);
    const auto failure = failures_.find(name);
    if (failure != failures_.end()) {
      if (clock_.Now() < failure->second.until_ns) return failure->second.status;
      failures_.erase(failure);
    }
  }
  absl::StatusOr<std::vector<ModelHandle>> loaded = reload_(name);
  if (!loaded.ok()) {
    const MutexLock lock(&mutex_);
    failures_[name] = {loaded.status(), clock_.Now() + kFailureNanos};
  }
  return loaded;
}

void ModelWaker::Run() {
  NameThisThread("waker");
  while (true) {
    std::string name;
    {
      const MutexLock lock(&mutex_);
      ++idle_;
      while (!stop_ && names_.empty()) changed_.Wait(&mutex_);
      --idle_;
      if (stop_) return;
      name = std::move(names_.front());
      names_.pop_front();
    }
    const absl::StatusOr<std::vector<ModelHandle>> loaded = LoadOrFail(name);
    std::vector<ModelRepository::Woken> waiting;
    {
      const MutexLock lock(&mutex_);
      if (auto found = waiting_.extract(name)) waiting = std::move(found.mapped());
    }
    for (const ModelRepository::Woken& then : waiting) then(loaded.status());
  }
}

}  // namespace bitmill
