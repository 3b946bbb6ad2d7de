#include "server/analysis/host_sampler.h"

#include <dirent.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/cpu_budget.h"
#include "server/analysis/proc_text.h"

namespace bitmill {
namespace {

constexpr size_t kSamples = 300;             // half a minute
constexpr size_t kBufferBytes = 128 * 1024;  // /proc/stat up to the lines of the last CPU
// A little less than what is meant: samples come every 100 ms, more or less.
constexpr MonotonicNanos kSometimesNanos = 450'000'000;
constexpr MonotonicNanos kSeldomNanos = 950'000'000;
constexpr MonotonicNanos kBudgetNanos = 4'950'000'000;
constexpr MonotonicNanos kMetricsWindowNanos = 5'000'000'000;

bool IsProc(const std::string& folder) {
  struct statfs info {};
  return statfs(folder.c_str(), &info) == 0 && info.f_type == PROC_SUPER_MAGIC;
}

int64_t ClockTickNanos() {
  const auto per_second = static_cast<int64_t>(sysconf(_SC_CLK_TCK));
  return per_second > 0 ? 1'000'000'000 / per_second : 10'000'000;
}

// Whether it is time, and if so, the next time; at once when there was none.
bool IsDue(MonotonicNanos now, MonotonicNanos period, std::optional<MonotonicNanos>& due) {
  if (due && now < *due) return false;
  due = now + period;
  return true;
}

// The CPUs that this process may run on; all where that is not known, or where the numbers of
// another machine are read.
class AllowedCpus {
 public:
  explicit AllowedCpus(bool ask)
      : known_(ask && sched_getaffinity(0, sizeof(sets_), sets_.data()) == 0) {}
  bool Has(int cpu) const {
    return !known_ ||
           (cpu >= 0 && CPU_ISSET_S(static_cast<size_t>(cpu), sizeof(sets_), sets_.data()));
  }

 private:
  std::array<cpu_set_t, 8> sets_ = {};
  const bool known_;
};

int64_t MaxDescriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, INT64_MAX));
}

}  // namespace

HostSampler::HostSampler(HostSamplerOptions options, const Clock& clock)
    : root_(std::move(options.filesystem_root)),
      override_cpus_(options.override_cpus),
      clock_(clock),
      perf_unavailable_reason_(options.perf.status().message()),
      perf_(options.perf.ok() ? *std::move(options.perf) : nullptr),
      nvml_(std::move(options.nvml)),
      memory_(kBufferBytes),
      buffer_(absl::MakeSpan(memory_)),
      proc_is_real_(IsProc(root_ + "/proc")),
      self_stat_(root_ + "/proc/self/stat"),
      machine_stat_(root_ + "/proc/stat"),
      cpu_pressure_(root_ + "/proc/pressure/cpu"),
      memory_pressure_(root_ + "/proc/pressure/memory"),
      io_pressure_(root_ + "/proc/pressure/io"),
      cgroups_(root_),
      waits_(root_),
      energy_(root_, options.energy),
      samples_(kSamples) {
  current_.machine_cores = static_cast<double>(std::max<int64_t>(1, sysconf(_SC_NPROCESSORS_ONLN)));
  current_.cpu_budget_cores = current_.machine_cores;
}

void HostSampler::Sample() {
  const MonotonicNanos now = clock_.Now();
  current_.at_ns = now;
  const bool seldom = IsDue(now, kSeldomNanos, seldom_due_ns_);
  if (seldom) cgroups_.FollowProcess(buffer_);
  SampleOften();
  if (IsDue(now, kSometimesNanos, sometimes_due_ns_)) SampleSometimes();
  if (seldom) SampleSeldom();
  const MutexLock lock(&mutex_);
  samples_.Push(current_);
}

void HostSampler::SampleOften() {
  HostTotals& totals = current_.totals;
  cgroups_.ReadCpu(buffer_);
  totals.periods = cgroups_.totals().periods;
  totals.throttled_periods = cgroups_.totals().throttled_periods;
  totals.throttled_ns = cgroups_.totals().throttled_ns;
}

void HostSampler::SampleSometimes() {
  current_.sometimes_at_ns = current_.at_ns;
  SampleProcess();
  HostTotals& totals = current_.totals;
  const std::optional<absl::string_view> text = machine_stat_.Read(buffer_);
  const AllowedCpus allowed(proc_is_real_);
  const std::optional<MachineStat> machine =
      text ? ParseMachineStat(*text, [&allowed](int cpu) { return allowed.Has(cpu); })
           : std::nullopt;
  totals.allowed_busy_ticks = machine ? machine->allowed_busy_ticks : -1;
  if (machine) current_.allowed_cores = machine->allowed_cpus;
  totals.machine_busy_ticks = machine ? machine->busy_ticks : -1;
  totals.machine_steal_ticks = machine ? machine->steal_ticks : -1;
  totals.machine_ticks = machine ? machine->total_ticks : -1;
  if (machine) current_.machine_cores = machine->cpus;
  totals.cpu = cpu_pressure_.Read(buffer_);
  totals.memory = memory_pressure_.Read(buffer_);
  totals.io = io_pressure_.Read(buffer_);
  cgroups_.ReadPressure(buffer_);
  cgroups_.ReadMemory(buffer_);
  const CgroupTotals& groups = cgroups_.totals();
  totals.group_cpu = groups.cpu;
  totals.group_memory = groups.memory;
  totals.group_io = groups.io;
  totals.memory_limit_hits = groups.memory_limit_hits;
  current_.memory_used_bytes = std::max<int64_t>(0, groups.memory_used_bytes);
  const int64_t limit = groups.memory_limit_bytes;
  current_.memory_limit_bytes = limit == kNoLimit ? 0 : std::max<int64_t>(0, limit);
}

void HostSampler::SampleProcess() {
  HostTotals& totals = current_.totals;
  const std::optional<absl::string_view> text = self_stat_.Read(buffer_);
  const std::optional<SelfStat> self = text ? ParseSelfStat(*text) : std::nullopt;
  totals.process_cpu_ns = self ? self->cpu_ticks * ClockTickNanos() : -1;
  totals.minor_faults = self ? self->minor_faults : -1;
  totals.major_faults = self ? self->major_faults : -1;
  current_.resident_bytes = self ? self->resident_pages * sysconf(_SC_PAGESIZE) : 0;
  waits_.Update(self ? self->threads : -1, buffer_);
  totals.run_queue_wait_ns = waits_.total_ns();
  totals.starved_wait_ns = waits_.starved_ns();
}

void HostSampler::SampleSeldom() {
  SampleBudget();
  current_.open_fds = CountDescriptors();
  current_.max_fds = MaxDescriptors();
  current_.pending_write_bytes =
      pending_writes_.Update(port_.load(std::memory_order_relaxed), current_.open_fds);
  if (perf_ != nullptr) {
    current_.perf = perf_->Read();
    current_.perf_at_ns = current_.at_ns;
  }
  const HostTotals& totals = current_.totals;
  double busy_cores = -1;
  if (energy_ticks_ >= 0 && totals.machine_ticks > energy_ticks_ &&
      totals.machine_busy_ticks >= energy_busy_ticks_) {
    busy_cores = static_cast<double>(totals.machine_busy_ticks - energy_busy_ticks_) /
                 static_cast<double>(totals.machine_ticks - energy_ticks_) * current_.machine_cores;
  }
  energy_ticks_ = totals.machine_ticks;
  energy_busy_ticks_ = totals.machine_busy_ticks;
  energy_.Update(current_.at_ns, busy_cores, current_.machine_cores, buffer_);
  current_.energy = energy_.reading();
  current_.energy_at_ns = current_.at_ns;
  if (nvml_ != nullptr) {
    current_.gpus = std::make_shared<const std::vector<GpuReading>>(nvml_->Read());
  }
}

void HostSampler::SampleBudget() {
  // It takes as long as all the rest of a second: seldom, but at once when a quota has come to
  // bind.
  const int64_t throttled = current_.totals.throttled_periods;
  const bool held_back = throttled > std::exchange(throttled_periods_, throttled);
  if (!IsDue(current_.at_ns, kBudgetNanos, budget_due_ns_) && !held_back) return;
  const absl::StatusOr<CpuBudget> budget = DetectCpuBudget(
      {.override_cpus = override_cpus_, .filesystem_root = root_, .affinity_cpus = 0});
  if (budget.ok()) current_.cpu_budget_cores = budget->cores;
}

int64_t HostSampler::CountDescriptors() const {
  const std::string folder = root_ + "/proc/self/fd";
  // Since Linux 6.2 the folder says how many there are.
  struct stat info {};
  if (proc_is_real_ && stat(folder.c_str(), &info) == 0 && info.st_size > 0) return info.st_size;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(folder.c_str()), closedir);
  if (entries == nullptr) return 0;
  int64_t count = proc_is_real_ ? -1 : 0;  // the one that lists them
  while (const dirent* entry = readdir(entries.get())) {
    if (entry->d_name[0] != '.') ++count;
  }
  return count;
}

HostWindow HostSampler::Window(MonotonicNanos length) const {
  const MutexLock lock(&mutex_);
  if (samples_.size() == 0) return WindowBetween(HostSample(), HostSample());
  return WindowBetween(samples_.Before(length), samples_.newest());
}

HostSample HostSampler::Newest() const {
  const MutexLock lock(&mutex_);
  return samples_.size() == 0 ? HostSample() : samples_.newest();
}

std::vector<MetricPoint> HostSampler::Metrics() const {
  return HostMetrics(Newest(), Window(kMetricsWindowNanos));
}

}  // namespace bitmill
