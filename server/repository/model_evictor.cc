#include "server/repository/model_evictor.h"

#include <malloc.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kLeastStayNanos = 20'000'000;
constexpr MonotonicNanos kLongestStayNanos = 1'000'000'000;
// Requests take milliseconds: whoever is in use now is idle soon, if it is to be so at all.
constexpr MonotonicNanos kIdlePatienceNanos = 100'000'000;
constexpr MonotonicNanos kPatienceNanos = 30'000'000'000;
constexpr int64_t kLookNanos = 5'000'000;
constexpr double kFreeLookSeconds = 0.05;

}  // namespace

const ModelTable::Resident* ChooseVictim(const std::vector<ModelTable::Resident>& residents,
                                         bool busy_too, MonotonicNanos now) {
  const ModelTable::Resident* victim = nullptr;
  for (const ModelTable::Resident& resident : residents) {
    if (!resident.evictable || (!resident.idle && !busy_too)) continue;
    const MonotonicNanos stay =
        std::clamp<MonotonicNanos>(resident.load_ns, kLeastStayNanos, kLongestStayNanos);
    const bool used = resident.last_use_ns >= resident.loaded_ns || !resident.idle;
    if (used && now - resident.loaded_ns < stay) continue;
    const auto rank = [](const ModelTable::Resident& one) {
      return std::pair(!one.idle, std::max(one.last_use_ns, one.loaded_ns));
    };
    if (victim == nullptr || rank(resident) < rank(*victim)) victim = &resident;
  }
  return victim;
}

ModelEvictor::ModelEvictor(ModelTable& table, ModelReaper& reaper, BusyNames& busy,
                           std::shared_ptr<MemoryLedger> ledger, ServerMetrics& metrics,
                           const Clock& clock, const std::atomic<bool>& stopped)
    : table_(table),
      reaper_(reaper),
      busy_(busy),
      ledger_(std::move(ledger)),
      metrics_(metrics),
      clock_(clock),
      stopped_(stopped) {}

absl::StatusOr<std::unique_ptr<MemoryHold>> ModelEvictor::Claim(
    const MemoryLedger::Claimant& who, const std::vector<MemoryUse>& uses) {
  const MonotonicNanos start = clock_.Now();
  while (true) {
    BITMILL_RETURN_IF_ERROR(ledger_->CheckFits(who, uses));
    if (std::unique_ptr<MemoryHold> hold = ledger_->TryClaim(who, uses)) return hold;
    if (stopped_) return absl::UnavailableError("the server is shutting down");
    const MonotonicNanos waited = clock_.Now() - start;
    if (EvictOne(who.model, uses, waited >= kIdlePatienceNanos)) continue;
    if (waited >= kPatienceNanos) {
      return absl::ResourceExhaustedError(
          absl::StrCat("model '", who.model, "' version ", who.version,
                       " fits the memory budget, but no other model could be evicted for ",
                       waited / 1'000'000'000, " s"));
    }
    ledger_->WaitForRelease(kLookNanos);
  }
}

bool ModelEvictor::EvictOne(const std::string& except, const std::vector<MemoryUse>& uses,
                            bool busy_too) {
  const std::vector<std::string> lacking = ledger_->Lacking(uses);
  std::vector<ModelTable::Resident> residents = table_.Residents();
  std::erase_if(residents, [&](const ModelTable::Resident& resident) {
    return resident.name == except || ledger_->HeldBy(resident.name, lacking) == 0;
  });
  const ModelTable::Resident* const victim = ChooseVictim(residents, busy_too, clock_.Now());
  return victim != nullptr && Evict(victim->name, busy_too);
}

bool ModelEvictor::Evict(const std::string& name, bool busy_too) {
  const BusyNames::Hold hold(busy_, name, BusyNames::Hold::Try());
  if (!hold.held()) return false;
  std::map<int64_t, LoadedVersion> versions = table_.Evict(name, /*only_idle=*/!busy_too);
  if (versions.empty()) return false;
  std::vector<MemoryUse> uses;
  int64_t bytes = 0;
  for (const auto& [version, loaded] : versions) AddMemory(loaded.handle->memory, uses);
  for (const MemoryUse& use : uses) bytes += use.bytes;
  ledger_->NoteEvicted(name, std::move(uses));
  for (auto& [version, loaded] : versions) {
    loaded.handle.reset();
    if (!WaitUntilFree(loaded.reaper_id)) {
      LogWarning(absl::StrCat("evicted model still in use name=", name, " version=", version,
                              ": freed when its last request ends"));
    }
    metrics_.ForModel(name, version).weight_bytes = 0;
  }
  malloc_trim(0);
  LogInfo(absl::StrCat("model evicted name=", name, " bytes=", bytes));
  const MutexLock lock(&mutex_);
  MemoryReport::Evictions& counts = counts_[name];
  counts.model = name;
  ++counts.evictions;
  return true;
}

bool ModelEvictor::WaitUntilFree(int64_t reaper_id) {
  const MonotonicNanos end = clock_.Now() + kPatienceNanos;
  while (!reaper_.WaitUntilGone(reaper_id, kFreeLookSeconds)) {
    if (stopped_ || clock_.Now() >= end) return false;
  }
  return true;
}

void ModelEvictor::CountReload(const std::string& model, int64_t ns, bool ok) {
  const MutexLock lock(&mutex_);
  MemoryReport::Evictions& counts = counts_[model];
  counts.model = model;
  ++(ok ? counts.reloads : counts.failed_reloads);
  counts.reload_ns += ns;
}

void ModelEvictor::CountWaiting(const std::string& model) {
  const MutexLock lock(&mutex_);
  MemoryReport::Evictions& counts = counts_[model];
  counts.model = model;
  ++counts.waited;
}

MemoryReport ModelEvictor::Report() const {
  MemoryReport report{.devices = ledger_->Devices(), .holders = ledger_->Holders()};
  {
    const MutexLock lock(&mutex_);
    for (const auto& [name, counts] : counts_) report.models.push_back(counts);
  }
  for (MemoryReport::Evictions& model : report.models) {
    model.evicted = !table_.Get(model.model).evicted.empty();
  }
  return report;
}

}  // namespace bitmill
