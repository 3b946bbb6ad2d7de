#include "server/repository/disk_repository.h"

#include <malloc.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/this_thread.h"
#include "server/repository/calibration_file.h"
#include "server/repository/index_lines.h"
#include "server/repository/model_path.h"
#include "server/repository/promoted_version.h"

namespace bitmill {
namespace {

// A request in flight holds its version; one that hangs must not hang the unload for ever.
constexpr double kUnloadSeconds = 30;

std::string Text(const absl::Status& status) { return std::string(status.message()); }

}  // namespace

absl::StatusOr<std::unique_ptr<DiskRepository>> DiskRepository::Create(
    const RepositoryOptions& options, LoaderParts parts, ServerMetrics& metrics) {
  BITMILL_ASSIGN_OR_RETURN(std::string real_root, ResolveRoot(options.root));
  return std::unique_ptr<DiskRepository>(
      new DiskRepository(options, std::move(real_root), std::move(parts), metrics));
}

DiskRepository::DiskRepository(const RepositoryOptions& options, std::string real_root,
                               LoaderParts parts, ServerMetrics& metrics)
    : options_(options),
      real_root_(std::move(real_root)),
      parts_(std::move(parts)),
      metrics_(metrics),
      evictor_(table_, reaper_, busy_, std::make_shared<MemoryLedger>(options.memory), metrics,
               clock_, stopped_),
      waker_([this](const std::string& name) { return Reload(name); },
             std::max(1, options.load_threads), clock_) {}

DiskRepository::~DiskRepository() {
  Stop();
  SetChangeListener(nullptr);
  for (const auto& [name, entry] : table_.Clear()) {
    for (const auto& [version, loaded] : entry.ready) metrics_.ForModel(name, version).ready = 0;
    for (const auto& [version, about] : entry.evicted) metrics_.ForModel(name, version).ready = 0;
  }
}

void DiskRepository::Stop() {
  {
    MutexLock lock(&mutex_);
    stopped_ = true;
    stop_changed_.NotifyAll();
  }
  waker_.Stop();
  if (poller_.joinable()) poller_.join();
}

// ---------------------------------------------------------------------------------------- start

std::vector<std::string> DiskRepository::NamesToStart() const {
  std::vector<std::string> names;
  const bool all = options_.mode != ControlMode::kExplicit ||
                   std::ranges::find(options_.load_at_start, "*") != options_.load_at_start.end();
  if (all) {
    absl::StatusOr<std::vector<std::string>> found = ListModels(real_root_);
    if (found.ok()) return *std::move(found);
    LogError(Text(found.status()));
    return names;
  }
  for (const std::string& name : options_.load_at_start) {
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return names;
}

void DiskRepository::LoadFirst(const std::string& name) {
  static_cast<void>(Load(name));  // the reason is in the log and in the index
  if (!table_.Describe(name, 0).ok()) {
    MutexLock lock(&mutex_);
    failed_at_start_.insert(name);
  }
}

void DiskRepository::LoadAtStart() {
  const std::vector<std::string> names = NamesToStart();
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < names.size() && !stopped_; i = next++) LoadFirst(names[i]);
  };
  std::vector<std::thread> helpers;
  const auto threads =
      std::min(static_cast<size_t>(std::max(1, options_.load_threads)), names.size());
  for (size_t i = 1; i < threads; ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
  started_ = true;
  NotifyChange();
  if (options_.mode == ControlMode::kPoll && !stopped_) poller_ = std::thread([this] { Poll(); });
}

bool DiskRepository::AllStartedReady() const {
  MutexLock lock(&mutex_);
  return started_ && (!options_.strict_readiness || failed_at_start_.empty());
}

// -------------------------------------------------------------------------------- load and unload

absl::Status DiskRepository::Load(absl::string_view given_name) {
  BITMILL_RETURN_IF_ERROR(CheckModelName(given_name));
  const std::string name(given_name);
  if (stopped_) return absl::UnavailableError("the server is shutting down");
  const BusyNames::Hold hold(busy_, name);
  if (stopped_) return absl::UnavailableError("the server is shutting down");
  return LoadCaught(name, nullptr);
}

absl::Status DiskRepository::LoadCaught(const std::string& name, Reloading* reloading) {
  absl::Status status;
  // Readers and compilers return statuses, but memory may run out in any of them; the models that
  // are served must not go down with the one that is loaded.
  try {
    status = LoadHeld(name, reloading);
  } catch (const std::bad_alloc&) {
    status = Fail(name, absl::ResourceExhaustedError("out of memory while loading"));
  } catch (const std::exception& error) {
    status = Fail(name, absl::InternalError(absl::StrCat("loading threw: ", error.what())));
  }
  if (status.ok()) {
    MutexLock lock(&mutex_);
    failed_at_start_.erase(name);
  } else {
    LogError(absl::StrCat("model not loaded name=", name, ": ", Text(status)));
  }
  return status;
}

// The same versions as before, though there may be others on disk by now: whether those are looked
// at is the control mode's to say.
absl::StatusOr<std::vector<ModelHandle>> DiskRepository::Reload(const std::string& name) {
  const BusyNames::Hold hold(busy_, name);
  if (stopped_) return absl::UnavailableError("the server is shutting down");
  const ModelTable::Entry before = table_.Get(name);
  if (before.evicted.empty()) return table_.Versions(name);  // somebody else has loaded it
  const MonotonicNanos start = clock_.Now();
  Reloading reloading;
  for (const auto& [version, about] : before.evicted) {
    reloading.versions.insert(reloading.versions.begin(), version);
  }
  // Room is made before memory is taken, for what it needs is known.
  absl::StatusOr<std::unique_ptr<MemoryHold>> room =
      evictor_.Claim({.model = name, .version = reloading.versions.front()}, evictor_.Wanted(name));
  absl::Status status = room.status();
  if (room.ok()) {
    reloading.room = *std::move(room);
    status = LoadCaught(name, &reloading);
  }
  absl::StatusOr<std::vector<ModelHandle>> versions = table_.Versions(name);
  const int64_t took = clock_.Now() - start;
  evictor_.CountReload(name, took, versions.ok());
  if (versions.ok()) {
    LogInfo(absl::StrCat("model back in memory name=", name, " ms=", took / 1'000'000));
    return versions;
  }
  return status.ok() ? versions.status() : status;
}

absl::Status DiskRepository::LoadHeld(const std::string& name, Reloading* reloading) {
  BITMILL_ASSIGN_OR_RETURN(ModelOnDisk on_disk, ScanModel(real_root_, name, ""));
  const auto remember = [&](const std::string& filename) {
    MutexLock lock(&mutex_);
    tried_[name] = {on_disk, filename};
  };
  remember("");
  if (!on_disk.problem.ok()) return Fail(name, on_disk.problem);
  if (table_.Get(name).ready.empty()) table_.SetState(name, ModelState::kLoading, "");
  const absl::StatusOr<GivenConfig> config = ReadConfig(real_root_, on_disk);
  if (!config.ok()) return Fail(name, config.status());
  const std::string& filename = config->proto.default_model_filename();
  if (!filename.empty()) {
    absl::StatusOr<ModelOnDisk> again = ScanModel(real_root_, name, filename);
    if (!again.ok()) return Fail(name, again.status());
    on_disk = *std::move(again);
    remember(filename);
  }
  for (const std::string& line : config->ignored) LogWarning(line);
  return LoadVersions(name, on_disk, *config, reloading);
}

absl::Status DiskRepository::LoadVersions(const std::string& name, const ModelOnDisk& on_disk,
                                          const GivenConfig& config, Reloading* reloading) {
  const VersionPolicy policy = VersionPolicyOf(config.proto);
  // One that is held back needs another that answers beside it.
  const bool holds_back = ParameterOf(config, "shadow") == "on";
  const int64_t latest = holds_back ? std::max<int64_t>(2, policy.latest) : policy.latest;
  const size_t limit =
      policy.kind == VersionPolicy::Kind::kLatest ? static_cast<size_t>(latest) : SIZE_MAX;
  const std::vector<int64_t> wanted =
      reloading != nullptr ? reloading->versions : VersionsWanted(policy, on_disk);
  if (wanted.empty()) {
    return Fail(name, absl::NotFoundError(
                          absl::StrCat(on_disk.folder, ": no version folder such as 1/",
                                       on_disk.skipped.empty() ? "" : "; ",
                                       on_disk.skipped.empty() ? "" : on_disk.skipped.front())));
  }
  const ModelTable::Entry before = table_.Get(name);
  int64_t kept = 0;
  if (holds_back) {
    kept =
        before.answering != 0 ? before.answering : ReadPromotedVersion(real_root_, on_disk.folder);
  }
  ModelTable::Entry entry;
  absl::Status first_error;
  for (const int64_t version : wanted) {
    if (entry.ready.size() >= limit && version != kept) {
      entry.versions[version] = {ModelState::kUnavailable, "not selected by the version policy"};
      continue;
    }
    const auto old = before.ready.find(version);
    const auto file = on_disk.versions.find(version);
    if (old != before.ready.end() && file != on_disk.versions.end() &&
        old->second.file == file->second.stamp && old->second.config == on_disk.config) {
      entry.ready[version] = old->second;  // nothing changed
      continue;
    }
    absl::StatusOr<LoadedVersion> loaded = LoadOne(name, version, on_disk, config, reloading);
    if (loaded.ok()) {
      entry.ready[version] = *std::move(loaded);
      continue;
    }
    if (first_error.ok()) first_error = loaded.status();
    if (file != on_disk.versions.end()) metrics_.ForModel(name, version);  // shows it as not ready
    entry.versions[version] = {ModelState::kUnavailable, Text(loaded.status())};
    if (old != before.ready.end()) entry.ready[version] = old->second;
  }
  if (entry.ready.empty()) {
    entry.ready = before.ready;
    entry.evicted = before.evicted;  // a later look may find the file mended
  }
  if (holds_back && !entry.ready.empty()) {
    std::vector<int64_t> ready;
    ready.reserve(entry.ready.size());
    for (const auto& [version, loaded] : entry.ready) ready.push_back(version);
    entry.answering = ChooseAnswering(kept, ready);
  }
  entry.state = entry.ready.empty() ? ModelState::kUnavailable : ModelState::kReady;
  entry.reason = Text(first_error);
  if (entry.evicted.empty()) evictor_.Forget(name);
  Publish(name, std::move(entry));
  return first_error;
}

absl::Status DiskRepository::Promote(absl::string_view given_name, int64_t version) {
  BITMILL_RETURN_IF_ERROR(CheckModelName(given_name));
  const std::string name(given_name);
  const BusyNames::Hold hold(busy_, name);
  BITMILL_RETURN_IF_ERROR(table_.Find(name, version).status());
  ModelTable::Entry entry = table_.Get(name);
  if (entry.answering == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("model ", QuoteName(name),
                     " holds no version back: its parameter 'shadow' is "
                     "not 'on'"));
  }
  if (version == 0 || entry.answering == version) return absl::OkStatus();
  const absl::Status written =
      WritePromotedVersion(real_root_, absl::StrCat(real_root_, "/", name), version);
  if (!written.ok()) {
    LogWarning(absl::StrCat("promotion is not remembered over a restart name=", name,
                            " version=", version, ": ", Text(written)));
  }
  LogInfo(absl::StrCat("version promoted name=", name, " from=", entry.answering, " to=", version));
  entry.answering = version;
  Publish(name, std::move(entry));
  return absl::OkStatus();
}

absl::StatusOr<LoadedVersion> DiskRepository::LoadOne(const std::string& name, int64_t version,
                                                      const ModelOnDisk& on_disk,
                                                      const GivenConfig& config,
                                                      Reloading* reloading) {
  const auto file = on_disk.versions.find(version);
  if (file == on_disk.versions.end()) {
    return absl::NotFoundError(absl::StrCat(on_disk.folder, ": no folder for version ", version));
  }
  const int64_t start = clock_.Now();
  LoaderParts parts = parts_;
  parts.claim = [&](const ServedModel& model) {
    if (reloading != nullptr) reloading->room.reset();
    return evictor_.Claim({name, version, model.settings.evict}, model.memory);
  };
  BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<ServedModel> model,
                           LoadVersion({real_root_, name, version, on_disk.folder, file->second},
                                       config, options_, parts));
  model->load_begin_ns = start;
  const MonotonicNanos loaded_ns = clock_.Now();
  const int64_t load_ns = loaded_ns - start;
  ModelDescriptionHandle about = DescribeModel(*model);
  LogLoaded(*model, options_.isa, load_ns);
  ModelMetrics& metrics = metrics_.ForModel(name, version);
  metrics.plan_from_file = model->plan_from_file ? 1 : 0;
  metrics.load_ns = load_ns;
  metrics.objective_ns = static_cast<int64_t>(model->settings.slo_p99_ms * 1e6);
  ModelReaper::Owned owned = reaper_.Adopt(std::move(model));
  return LoadedVersion{std::move(owned.handle),
                       owned.id,
                       file->second.stamp,
                       on_disk.config,
                       std::move(about),
                       loaded_ns,
                       load_ns};
}

absl::Status DiskRepository::Fail(const std::string& name, const absl::Status& status) {
  ModelTable::Entry entry = table_.Get(name);
  entry.state = entry.ready.empty() ? ModelState::kUnavailable : ModelState::kReady;
  entry.reason = Text(status);
  static_cast<void>(table_.Put(name, std::move(entry)));
  return status;
}

void DiskRepository::Publish(const std::string& name, ModelTable::Entry entry) {
  std::map<int64_t, int64_t> now_ready;
  for (const auto& [version, about] : entry.evicted) now_ready[version] = 1;
  for (const auto& [version, loaded] : entry.ready) now_ready[version] = 1;
  const ModelTable::Entry before = table_.Put(name, std::move(entry));
  for (const auto& [version, loaded] : before.ready) now_ready.try_emplace(version, 0);
  for (const auto& [version, about] : before.evicted) now_ready.try_emplace(version, 0);
  for (const auto& [version, ready] : now_ready) {
    ModelMetrics& metrics = metrics_.ForModel(name, version);
    metrics.ready = ready;
    if (ready == 0) metrics.weight_bytes = 0;
  }
  NotifyChange();
}  // the handles of `before` are dropped here; the reaper frees what nobody else holds

absl::Status DiskRepository::Unload(absl::string_view given_name) {
  BITMILL_RETURN_IF_ERROR(CheckModelName(given_name));
  const std::string name(given_name);
  const BusyNames::Hold hold(busy_, name);
  UnloadHeld(name);
  MutexLock lock(&mutex_);
  failed_at_start_.erase(name);
  return absl::OkStatus();
}

void DiskRepository::UnloadHeld(const std::string& name) {
  ModelTable::Entry before = table_.Get(name);
  if (before.ready.empty() && before.evicted.empty()) return;
  evictor_.Forget(name);
  ModelTable::Entry unloading;
  unloading.state = ModelState::kUnloading;
  Publish(name, std::move(unloading));
  for (auto& [version, loaded] : before.ready) {
    const std::weak_ptr<const ServedModel> rest = loaded.handle;
    loaded.handle.reset();
    if (!reaper_.WaitUntilGone(loaded.reaper_id, kUnloadSeconds)) {
      LogWarning(absl::StrCat("model still in use name=", name, " version=", version,
                              ": freed when its last request ends"));
      if (const ModelHandle held = rest.lock()) held->runtime->Drain();
    }
    LogInfo(absl::StrCat("model unloaded name=", name, " version=", version));
  }
  malloc_trim(0);
  table_.SetState(name, ModelState::kUnavailable, "unloaded");
}

// ------------------------------------------------------------------------------- index, listener

std::vector<IndexEntry> DiskRepository::Index() const {
  std::set<std::string> names;
  const absl::StatusOr<std::vector<std::string>> on_disk = ListModels(real_root_);
  if (on_disk.ok()) names.insert(on_disk->begin(), on_disk->end());
  for (const std::string& name : table_.Names()) {
    if (table_.Get(name).state != ModelState::kUnavailable) names.insert(name);
  }
  std::vector<IndexEntry> index;
  for (const std::string& name : names) {
    std::vector<IndexEntry> lines =
        IndexLines(name, table_.Get(name), ScanModel(real_root_, name, TriedBefore(name).filename));
    std::move(lines.begin(), lines.end(), std::back_inserter(index));
  }
  return index;
}

bool DiskRepository::Wake(absl::string_view given_name, Woken then) {
  std::string name(given_name);
  // One that has come back since is told so.
  if (!table_.Describe(name, 0).ok()) return false;
  evictor_.CountWaiting(name);
  waker_.Wake(name, std::move(then));
  return true;
}

void DiskRepository::SetChangeListener(std::function<void()> on_change) {
  auto shared = on_change == nullptr
                    ? nullptr
                    : std::make_shared<const std::function<void()>>(std::move(on_change));
  MutexLock lock(&mutex_);
  on_change_ = std::move(shared);
}

void DiskRepository::NotifyChange() const {
  std::shared_ptr<const std::function<void()>> listener;
  {
    MutexLock lock(&mutex_);
    listener = on_change_;
  }
  if (listener != nullptr) (*listener)();
}

// ----------------------------------------------------------------------------------------- polling

DiskRepository::Tried DiskRepository::TriedBefore(const std::string& name) const {
  MutexLock lock(&mutex_);
  const auto found = tried_.find(name);
  return found == tried_.end() ? Tried{} : found->second;
}

bool DiskRepository::PollModel(const std::string& name) {
  const Tried tried = TriedBefore(name);
  absl::StatusOr<ModelOnDisk> now = ScanModel(real_root_, name, tried.filename);
  if (!now.ok()) return true;  // gone since it was listed
  if (*now == tried.on_disk) {
    seen_.erase(name);
    return false;
  }
  const auto seen = seen_.find(name);
  const bool stable = seen != seen_.end() && seen->second == *now;
  if (!stable) {
    seen_[name] = *std::move(now);
    return true;
  }
  seen_.erase(name);
  static_cast<void>(Load(name));  // logged there
  return false;
}

bool DiskRepository::PollOnce() {
  absl::StatusOr<std::vector<std::string>> listed = ListModels(real_root_);
  if (!listed.ok()) {
    LogWarning(absl::StrCat("poll: ", Text(listed.status())));
    return false;  // the folder is away for a moment: nothing is unloaded for that
  }
  bool pending = false;
  for (const std::string& name : *listed) {
    if (stopped_) return false;
    missing_.erase(name);
    pending |= PollModel(name);
  }
  const std::set<std::string> present(listed->begin(), listed->end());
  for (const std::string& name : table_.Names()) {
    if (stopped_ || present.contains(name)) continue;
    if (++missing_[name] < 2) {
      pending = true;
      continue;
    }
    missing_.erase(name);
    seen_.erase(name);
    static_cast<void>(Unload(name));
    static_cast<void>(table_.Erase(name));
    MutexLock lock(&mutex_);
    tried_.erase(name);
  }
  return pending;
}

void DiskRepository::Poll() {
  NameThisThread("poller");
  constexpr int64_t kNanosPerSecond = 1'000'000'000;
  const SystemClock clock;
  bool pending = false;
  while (!stopped_) {
    // A change is looked at again soon, whatever the period: it only has to stand still.
    const int64_t wait =
        pending ? std::min<int64_t>(1, options_.poll_seconds) : options_.poll_seconds;
    const int64_t end = clock.Now() + wait * kNanosPerSecond;
    {
      MutexLock lock(&mutex_);
      while (!stopped_ && clock.Now() < end) {
        stop_changed_.WaitFor(&mutex_, end - clock.Now());
      }
    }
    if (!stopped_) pending = PollOnce();
  }
}

}  // namespace bitmill
