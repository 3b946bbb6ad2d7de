// Makes room for models: takes others out of memory that nobody uses, least recently used first.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/metrics/metrics.h"
#include "server/repository/busy_names.h"
#include "server/repository/memory_ledger.h"
#include "server/repository/model_reaper.h"
#include "server/repository/model_table.h"

namespace bitmill {

// The one to evict: of those that may be, the idle one whose last use lies furthest back; where
// none is idle and `busy_too`, the one in use whose last use does. A model that has been used stays
// for as long as its load took (20 ms to 1 s), so that two models that are both wanted and do not
// fit together do not spend all time on being loaded. Null: none now.
const ModelTable::Resident* ChooseVictim(const std::vector<ModelTable::Resident>& residents,
                                         bool busy_too, MonotonicNanos now);

class ModelEvictor {
 public:
  // Borrows all but the ledger. Once `stopped`, nothing is waited for.
  ModelEvictor(ModelTable& table, ModelReaper& reaper, BusyNames& busy,
               std::shared_ptr<MemoryLedger> ledger, ServerMetrics& metrics, const Clock& clock,
               const std::atomic<bool>& stopped);

  // Memory for a version that is being loaded; the caller holds its model's name. Evicts idle
  // models until it fits; where there is none, waits a moment, and then evicts one that is in use:
  // its new requests wait for it, those that run are finished first. ResourceExhausted when it
  // cannot fit, or when nothing came free in half a minute. Thread-safe, as all here.
  absl::StatusOr<std::unique_ptr<MemoryHold>> Claim(const MemoryLedger::Claimant& who,
                                                    const std::vector<MemoryUse>& uses);

  // What the model that is evicted held.
  std::vector<MemoryUse> Wanted(const std::string& model) const { return ledger_->Evicted(model); }
  // It is in memory again, or not served any more.
  void Forget(const std::string& model) { ledger_->ForgetEvicted(model); }
  void CountReload(const std::string& model, int64_t ns, bool ok);
  void CountWaiting(const std::string& model);
  MemoryReport Report() const;

 private:
  bool EvictOne(const std::string& except, const std::vector<MemoryUse>& uses, bool busy_too);
  bool Evict(const std::string& name, bool busy_too);
  bool WaitUntilFree(int64_t reaper_id);

  ModelTable& table_;
  ModelReaper& reaper_;
  BusyNames& busy_;
  const std::shared_ptr<MemoryLedger> ledger_;
  ServerMetrics& metrics_;
  const Clock& clock_;
  const std::atomic<bool>& stopped_;
  mutable Mutex mutex_;
  std::map<std::string, MemoryReport::Evictions> counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bitmill
