// Who holds how much of which device's memory, and whether a model fits beside that. Nothing here
// touches a model: whoever wants room asks, evicts others (model_evictor.h), and asks again.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "backends/backend.h"
#include "base/mutex.h"
#include "server/repository/memory_budget.h"

namespace bitmill {

struct MemoryLimits {
  MemoryBudget host = {}, device = {};  // `device`: of each
  int64_t host_bytes = 0;               // that there are; 0: not known
};

class MemoryLedger;

// Memory that is accounted for; given back when it is destroyed.
class MemoryHold {
 public:
  MemoryHold(std::shared_ptr<MemoryLedger> ledger, int64_t id)
      : ledger_(std::move(ledger)), id_(id) {}
  ~MemoryHold();
  MemoryHold(const MemoryHold&) = delete;
  MemoryHold& operator=(const MemoryHold&) = delete;

 private:
  const std::shared_ptr<MemoryLedger> ledger_;
  const int64_t id_;
};

// Thread-safe.
class MemoryLedger : public std::enable_shared_from_this<MemoryLedger> {
 public:
  struct Claimant {
    std::string model;
    int64_t version = 0;
    bool evictable = true;
  };
  struct Device {
    std::string name;
    int64_t budget_bytes = 0;  // 0: no limit
    int64_t held_bytes = 0;
  };
  struct Holder {
    Claimant who;
    std::vector<MemoryUse> uses;
  };

  explicit MemoryLedger(const MemoryLimits& limits);

  // Null when it does not fit beside what is held now.
  std::unique_ptr<MemoryHold> TryClaim(const Claimant& who, const std::vector<MemoryUse>& uses);
  // Whether it fits once all evictable models but its own are gone, and whether, when it cannot be
  // evicted itself, each evictable model still has room then. ResourceExhausted otherwise: what is
  // needed, what there is, and who holds it.
  absl::Status CheckFits(const Claimant& who, const std::vector<MemoryUse>& uses) const;
  // The names of devices that lack room for it now.
  std::vector<std::string> Lacking(const std::vector<MemoryUse>& uses) const;
  // What the versions of a model hold of these devices, all together.
  int64_t HeldBy(const std::string& model, const std::vector<std::string>& devices) const;

  // An evicted model holds nothing, but will want this again.
  void NoteEvicted(const std::string& model, std::vector<MemoryUse> uses);
  void ForgetEvicted(const std::string& model);
  std::vector<MemoryUse> Evicted(const std::string& model) const;

  // Until something is given back, `ns` at most; or shorter.
  void WaitForRelease(int64_t ns);

  std::vector<Device> Devices() const;
  std::vector<Holder> Holders() const;

 private:
  friend class MemoryHold;
  struct Account {
    int64_t budget_bytes = 0;
    int64_t held_bytes = 0;
  };
  void Release(int64_t id);
  Account& AccountOf(const MemoryUse& use) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t BudgetOf(const MemoryUse& use) const;
  std::string HoldersOf(const std::string& device) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The most that one evictable model other than `model` holds of it, or held when it was evicted.
  std::pair<std::string, int64_t> LargestEvictable(const std::string& device,
                                                   const std::string& model) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const MemoryLimits limits_;
  mutable Mutex mutex_;
  CondVar released_;
  int64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, Account> accounts_ ABSL_GUARDED_BY(mutex_);  // by device
  std::map<int64_t, Holder> holders_ ABSL_GUARDED_BY(mutex_);        // by hold
  std::map<std::string, std::vector<MemoryUse>> evicted_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bitmill
