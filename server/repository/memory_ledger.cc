#include "server/repository/memory_ledger.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

constexpr size_t kHoldersShown = 5;

int64_t BytesOn(const std::vector<MemoryUse>& uses, const std::string& device) {
  const auto found = std::ranges::find(uses, device, &MemoryUse::device);
  return found == uses.end() ? 0 : found->bytes;
}

const char* OptionOf(const std::string& device) {
  return device == kHostMemory ? "--memory-budget" : "--device-memory-budget";
}

}  // namespace

MemoryHold::~MemoryHold() { ledger_->Release(id_); }

MemoryLedger::MemoryLedger(const MemoryLimits& limits) : limits_(limits) {
  const MutexLock lock(&mutex_);
  AccountOf({kHostMemory, 0, 0});
}

int64_t MemoryLedger::BudgetOf(const MemoryUse& use) const {
  if (use.device == kHostMemory) return BudgetBytes(limits_.host, limits_.host_bytes);
  return BudgetBytes(limits_.device, use.device_bytes);
}

MemoryLedger::Account& MemoryLedger::AccountOf(const MemoryUse& use) {
  const auto [found, added] = accounts_.try_emplace(use.device);
  if (added) found->second.budget_bytes = BudgetOf(use);
  return found->second;
}

std::unique_ptr<MemoryHold> MemoryLedger::TryClaim(const Claimant& who,
                                                   const std::vector<MemoryUse>& uses) {
  const MutexLock lock(&mutex_);
  for (const MemoryUse& use : uses) {
    const Account& account = AccountOf(use);
    if (account.budget_bytes > 0 && use.bytes > account.budget_bytes - account.held_bytes) {
      return nullptr;
    }
  }
  for (const MemoryUse& use : uses) AccountOf(use).held_bytes += use.bytes;
  const int64_t id = ++last_id_;
  holders_[id] = {who, uses};
  return std::make_unique<MemoryHold>(shared_from_this(), id);
}

void MemoryLedger::Release(int64_t id) {
  const MutexLock lock(&mutex_);
  const auto found = holders_.find(id);
  for (const MemoryUse& use : found->second.uses) AccountOf(use).held_bytes -= use.bytes;
  holders_.erase(found);
  released_.NotifyAll();
}

std::pair<std::string, int64_t> MemoryLedger::LargestEvictable(const std::string& device,
                                                               const std::string& model) const {
  std::map<std::string, int64_t> held;
  for (const auto& [id, holder] : holders_) {
    if (holder.who.evictable) held[holder.who.model] += BytesOn(holder.uses, device);
  }
  for (const auto& [name, uses] : evicted_) {
    held[name] = std::max(held[name], BytesOn(uses, device));
  }
  held.erase(model);
  std::pair<std::string, int64_t> largest;
  for (const auto& [name, bytes] : held) {
    if (bytes > largest.second) largest = {name, bytes};
  }
  return largest;
}

std::string MemoryLedger::HoldersOf(const std::string& device) const {
  std::vector<std::pair<int64_t, std::string>> lines;
  for (const auto& [id, holder] : holders_) {
    const int64_t bytes = BytesOn(holder.uses, device);
    if (bytes == 0) continue;
    lines.emplace_back(
        bytes, absl::StrCat("'", holder.who.model, "' version ", holder.who.version, " holds ",
                            BytesText(bytes), holder.who.evictable ? "" : " and is not evicted"));
  }
  std::ranges::sort(lines, std::greater<>());
  std::string text;
  for (size_t i = 0; i < std::min(lines.size(), kHoldersShown); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", lines[i].second);
  }
  if (lines.size() > kHoldersShown) {
    absl::StrAppend(&text, ", and ", lines.size() - kHoldersShown, " more");
  }
  return lines.empty() ? "nobody holds any" : text;
}

absl::Status MemoryLedger::CheckFits(const Claimant& who,
                                     const std::vector<MemoryUse>& uses) const {
  const MutexLock lock(&mutex_);
  for (const MemoryUse& use : uses) {
    const int64_t budget = BudgetOf(use);
    if (budget == 0) continue;
    int64_t stays = 0;
    for (const auto& [id, holder] : holders_) {
      if (holder.who.evictable && holder.who.model != who.model) continue;
      stays += BytesOn(holder.uses, use.device);
    }
    const std::string needs =
        absl::StrCat("model '", who.model, "' version ", who.version, " needs ",
                     BytesText(use.bytes), " (", use.bytes, " bytes) of memory on ", use.device);
    if (use.bytes > budget - stays) {
      return absl::ResourceExhaustedError(absl::StrCat(
          needs, "; of the budget of ", BytesText(budget), " (", OptionOf(use.device), ") ",
          BytesText(std::max<int64_t>(budget - stays, 0)), " can be had: ", HoldersOf(use.device)));
    }
    if (who.evictable) continue;
    const auto [other, bytes] = LargestEvictable(use.device, who.model);
    if (use.bytes + bytes > budget - stays) {
      return absl::ResourceExhaustedError(
          absl::StrCat(needs, " for good; of the budget of ", BytesText(budget), " (",
                       OptionOf(use.device), ") that leaves too little for '", other,
                       "', which needs ", BytesText(bytes), ": ", HoldersOf(use.device)));
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> MemoryLedger::Lacking(const std::vector<MemoryUse>& uses) const {
  const MutexLock lock(&mutex_);
  std::vector<std::string> lacking;
  for (const MemoryUse& use : uses) {
    const auto account = accounts_.find(use.device);
    const int64_t held = account == accounts_.end() ? 0 : account->second.held_bytes;
    const int64_t budget = BudgetOf(use);
    if (budget > 0 && use.bytes > budget - held) lacking.push_back(use.device);
  }
  return lacking;
}

int64_t MemoryLedger::HeldBy(const std::string& model,
                             const std::vector<std::string>& devices) const {
  const MutexLock lock(&mutex_);
  int64_t held = 0;
  for (const auto& [id, holder] : holders_) {
    if (holder.who.model != model) continue;
    for (const std::string& device : devices) held += BytesOn(holder.uses, device);
  }
  return held;
}

void MemoryLedger::NoteEvicted(const std::string& model, std::vector<MemoryUse> uses) {
  const MutexLock lock(&mutex_);
  evicted_[model] = std::move(uses);
}

void MemoryLedger::ForgetEvicted(const std::string& model) {
  const MutexLock lock(&mutex_);
  evicted_.erase(model);
}

std::vector<MemoryUse> MemoryLedger::Evicted(const std::string& model) const {
  const MutexLock lock(&mutex_);
  const auto found = evicted_.find(model);
  return found == evicted_.end() ? std::vector<MemoryUse>() : found->second;
}

void MemoryLedger::WaitForRelease(int64_t ns) {
  const MutexLock lock(&mutex_);
  released_.WaitFor(&mutex_, ns);
}

std::vector<MemoryLedger::Device> MemoryLedger::Devices() const {
  const MutexLock lock(&mutex_);
  std::vector<Device> devices;
  devices.reserve(accounts_.size());
  for (const auto& [name, account] : accounts_) {
    devices.push_back({name, account.budget_bytes, account.held_bytes});
  }
  return devices;
}

std::vector<MemoryLedger::Holder> MemoryLedger::Holders() const {
  const MutexLock lock(&mutex_);
  std::vector<Holder> holders;
  holders.reserve(holders_.size());
  for (const auto& [id, holder] : holders_) holders.push_back(holder);
  return holders;
}

}  // namespace bitmill
