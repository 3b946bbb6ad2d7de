#include "server/analysis/host_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/fakes/fake_clock.h"
#include "tests/server/analysis/fake_host.h"

namespace bitmill {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kTenth = kSecond / 10;

// A server of two threads in a group of version 1 on a machine of two CPUs; `seconds` of its life
// are behind it: each has used half a CPU, waited a fifth of the time, and so on.
void PutServer(const FakeHost& host, int64_t seconds) {
  const int64_t ticks = seconds * sysconf(_SC_CLK_TCK);
  host.Put("/proc/self/stat",
           absl::StrCat("7 (bitmill) S 1 1 1 0 -1 0 ", 50 * seconds, " 0 ", seconds, " 0 ",
                        ticks / 2, " ", ticks / 2, " 0 0 20 0 2 0 100 1000000 1000 0 0\n"));
  host.PutThread(7, seconds * kSecond / 5);
  host.PutThread(8, seconds * kSecond / 5);
  host.Put("/proc/stat",
           absl::StrCat("cpu  ", 1'000 + 100 * seconds, " 0 50 ", 5'000 + 60 * seconds, " 0 0 0 ",
                        40 * seconds, " 0 0\ncpu0 1 1\ncpu1 1 1\nintr 5\n"));
  host.Put("/proc/pressure/cpu",
           absl::StrCat("some avg10=0.00 avg60=0.00 avg300=0.00 total=", 250'000 * seconds, "\n"));
  host.Put("/cpu/x/cpu.stat",
           absl::StrCat("nr_periods ", 10 * seconds, "\nnr_throttled ", 4 * seconds,
                        "\nthrottled_time ", 300'000'000 * seconds, "\n"));
  host.Put("/cpu/x/cpu.cfs_quota_us", "50000\n");
  host.Put("/cpu/x/cpu.cfs_period_us", "100000\n");
  host.Put("/memory/x/memory.usage_in_bytes", absl::StrCat(1'000'000 * seconds, "\n"));
  host.Put("/memory/x/memory.limit_in_bytes", "100000000\n");
  host.Put("/memory/x/memory.failcnt", absl::StrCat(3 * seconds, "\n"));
}

class HostSamplerTest : public ::testing::Test {
 protected:
  HostSamplerTest() {
    host_.PutGroupV1("/x");
    PutServer(host_, 1);
    host_.Put("/proc/self/fd/0", "");
    host_.Put("/proc/self/fd/1", "");
  }
  HostSampler Sampler() {
    HostSamplerOptions options;
    options.filesystem_root = host_.root();
    return HostSampler(std::move(options), clock_);
  }
  // Lives on until `seconds` lie behind the server, sampling each second.
  void LiveUntil(HostSampler& sampler, int64_t seconds) {
    while (lived_ < seconds) {
      clock_.Advance(kSecond);
      PutServer(host_, ++lived_);
      sampler.Sample();
    }
  }

  FakeHost host_;
  FakeClock clock_;
  int64_t lived_ = 1;
};

TEST_F(HostSamplerTest, BeforeTheFirstSampleNothingIsKnown) {
  const HostSampler sampler = Sampler();
  EXPECT_EQ(sampler.Window(kSecond).seconds, 0);
  EXPECT_EQ(sampler.Window(kSecond).steal_share, -1);
}

TEST_F(HostSamplerTest, SaysWhatHappenedInTheWindow) {
  HostSampler sampler = Sampler();
  sampler.Sample();
  LiveUntil(sampler, 9);
  const HostWindow window = sampler.Window(5 * kSecond);
  EXPECT_DOUBLE_EQ(window.seconds, 5);
  EXPECT_DOUBLE_EQ(window.cpu_budget_cores, 0.5);
  EXPECT_DOUBLE_EQ(window.machine_cores, 2);
  EXPECT_NEAR(window.process_cpu_cores, 1, 0.01);
  EXPECT_DOUBLE_EQ(window.run_queue_wait_cores, 0.4);
  EXPECT_DOUBLE_EQ(window.machine_busy_cores, 1);
  EXPECT_DOUBLE_EQ(window.steal_share, 0.2);
  EXPECT_NEAR(window.throttled_share, 0.3 / 1.3, 0.01);
  EXPECT_DOUBLE_EQ(window.throttled_periods_share, 0.4);
  EXPECT_DOUBLE_EQ(window.psi_cpu_some, 0.25);
  EXPECT_EQ(window.psi_memory_some, -1);
  EXPECT_DOUBLE_EQ(window.minor_faults_per_s, 50);
  EXPECT_DOUBLE_EQ(window.major_faults_per_s, 1);
  EXPECT_EQ(window.resident_bytes, 1000 * sysconf(_SC_PAGESIZE));
  EXPECT_EQ(window.memory_limit_bytes, 100'000'000);
  EXPECT_EQ(window.memory_used_bytes, 9'000'000);
  EXPECT_DOUBLE_EQ(window.memory_limit_hits_per_s, 3);
  EXPECT_EQ(window.open_fds, 2);
  EXPECT_GT(window.max_fds, 0);
}

TEST_F(HostSamplerTest, AWindowIsNoLongerThanWhatIsRemembered) {
  HostSampler sampler = Sampler();
  sampler.Sample();
  LiveUntil(sampler, 3);
  EXPECT_DOUBLE_EQ(sampler.Window(5 * kSecond).seconds, 2);
  EXPECT_DOUBLE_EQ(sampler.Window(kSecond).seconds, 1);
  for (int i = 0; i < 1'000; ++i) {
    clock_.Advance(kTenth);
    sampler.Sample();
  }
  EXPECT_NEAR(sampler.Window(1'000 * kSecond).seconds, 30, 0.2);
}

TEST_F(HostSamplerTest, AQuotaThatComesToBindWhileServingIsSeenWithinASecond) {
  HostSampler sampler = Sampler();
  sampler.Sample();
  clock_.Advance(kSecond);
  PutServer(host_, 2);  // held back
  host_.Put("/cpu/x/cpu.cfs_quota_us", "20000\n");
  sampler.Sample();
  EXPECT_DOUBLE_EQ(sampler.Window(kSecond).cpu_budget_cores, 0.2);
}

TEST_F(HostSamplerTest, AQuotaThatIsLiftedIsSeenWithinFiveSeconds) {
  HostSampler sampler = Sampler();
  sampler.Sample();
  host_.Put("/cpu/x/cpu.cfs_quota_us", "80000\n");
  for (int i = 0; i < 50; ++i) {
    clock_.Advance(kTenth);
    sampler.Sample();
  }
  EXPECT_DOUBLE_EQ(sampler.Window(kSecond).cpu_budget_cores, 0.8);
}

TEST_F(HostSamplerTest, GarbageEverywhereIsNotKnownAndNoCrash) {
  HostSampler sampler = Sampler();
  sampler.Sample();
  for (const std::string& garbage : {std::string(), std::string("some"), std::string(200'000, '7'),
                                     std::string("cpu -1 x\n\0\n", 11)}) {
    for (const char* path :
         {"/proc/self/stat", "/proc/stat", "/proc/pressure/cpu", "/proc/self/task/7/schedstat",
          "/proc/self/task/8/schedstat", "/cpu/x/cpu.stat", "/memory/x/memory.usage_in_bytes",
          "/memory/x/memory.limit_in_bytes", "/memory/x/memory.failcnt"}) {
      host_.Put(path, garbage);
    }
    clock_.Advance(kSecond);
    sampler.Sample();
    const HostWindow window = sampler.Window(5 * kSecond);
    EXPECT_EQ(window.process_cpu_cores, 0);
    EXPECT_EQ(window.machine_busy_cores, -1);
    EXPECT_EQ(window.throttled_share, -1);
    EXPECT_EQ(window.run_queue_wait_cores, -1);
    EXPECT_EQ(window.psi_cpu_some, -1);
    EXPECT_EQ(window.memory_limit_bytes, 0);
    EXPECT_EQ(window.memory_used_bytes, 0);
  }
  // The group's file may come back, or the process move to a group that has one.
  host_.PutGroupV2("/y");
  host_.Put("/cg/y/memory.current", "77\n");
  clock_.Advance(kSecond);
  sampler.Sample();
  EXPECT_EQ(sampler.Window(kSecond).memory_used_bytes, 77);
}

TEST_F(HostSamplerTest, AnEmptyTreeIsNotKnown) {
  const FakeHost empty;
  HostSamplerOptions options;
  options.filesystem_root = empty.root();
  HostSampler sampler(std::move(options), clock_);
  sampler.Sample();
  clock_.Advance(kSecond);
  sampler.Sample();
  const HostWindow window = sampler.Window(kSecond);
  EXPECT_DOUBLE_EQ(window.seconds, 1);
  EXPECT_EQ(window.run_queue_wait_cores, -1);
  EXPECT_EQ(window.machine_busy_cores, -1);
  EXPECT_GE(window.machine_cores, 1);
  EXPECT_EQ(sampler.perf_unavailable_reason(), "not asked for");
}

class FakePerf final : public PerfReader {
 public:
  PerfReading Read() override {
    ++reads_;
    return {.cycles = 1'000 * reads_, .instructions = 3'000 * reads_, .cache_misses = 10 * reads_};
  }

 private:
  int64_t reads_ = 0;
};

TEST_F(HostSamplerTest, TakesHardwareCountersWhereThereAreSome) {
  HostSamplerOptions options;
  options.filesystem_root = host_.root();
  options.perf = std::make_unique<FakePerf>();
  HostSampler sampler(std::move(options), clock_);
  sampler.Sample();
  LiveUntil(sampler, 4);
  const HostWindow window = sampler.Window(2 * kSecond);
  EXPECT_DOUBLE_EQ(window.instructions_per_cycle, 3);
  EXPECT_DOUBLE_EQ(window.cache_misses_per_s, 10);
  EXPECT_EQ(sampler.perf_unavailable_reason(), "");
}

double ValueOf(const std::vector<MetricPoint>& points, const std::string& name,
               const std::string& label_value = "") {
  for (const MetricPoint& point : points) {
    if (point.name != name) continue;
    if (label_value.empty()) return point.value;
    for (const auto& label : point.labels) {
      if (label.second == label_value) return point.value;
    }
  }
  ADD_FAILURE() << name << " " << label_value << " is not there";
  return -2;
}

TEST_F(HostSamplerTest, ShowsWhatIsKnownAsMetrics) {
  HostSampler sampler = Sampler();
  sampler.Sample();
  LiveUntil(sampler, 11);
  const std::vector<MetricPoint> points = sampler.Metrics();
  EXPECT_DOUBLE_EQ(ValueOf(points, "bitmill_cgroup_throttled_seconds_total"), 3);
  EXPECT_DOUBLE_EQ(ValueOf(points, "bitmill_cgroup_throttled_periods_total"), 40);
  EXPECT_DOUBLE_EQ(ValueOf(points, "bitmill_pressure_share", "cpu"), 0.25);
  EXPECT_DOUBLE_EQ(ValueOf(points, "bitmill_run_queue_wait_seconds_total"), 4.4);
  EXPECT_DOUBLE_EQ(ValueOf(points, "bitmill_steal_share"), 0.2);
  EXPECT_DOUBLE_EQ(ValueOf(points, "bitmill_page_faults_total", "major"), 11);
  EXPECT_DOUBLE_EQ(ValueOf(points, "bitmill_memory_limit_bytes"), 100'000'000);
  EXPECT_DOUBLE_EQ(ValueOf(points, "bitmill_memory_limit_hits_total"), 30);
  // Ten seconds of one busy and one idle hardware thread.
  EXPECT_NEAR(ValueOf(points, "bitmill_energy_joules_total", "model"), 10 * (0.74 + 3.5), 1e-6);
}

// Beside one that has a CPU to itself.
TEST_F(HostSamplerTest, ShowsWhatThreadsThatStarveWait) {
  HostSampler sampler = Sampler();
  sampler.Sample();
  EXPECT_DOUBLE_EQ(ValueOf(sampler.Metrics(), "bitmill_starved_wait_seconds_total"), 0);
  clock_.Advance(kSecond);
  PutServer(host_, ++lived_);
  host_.PutThread(7, kSecond / 5, 9 * kTenth);
  host_.PutThread(8, kSecond);
  sampler.Sample();
  EXPECT_NEAR(ValueOf(sampler.Metrics(), "bitmill_starved_wait_seconds_total"), 0.8, 1e-3);
}

TEST_F(HostSamplerTest, MetricsAreWellFormed) {
  HostSampler sampler = Sampler();
  sampler.Sample();
  LiveUntil(sampler, 3);
  std::set<std::string> series, finished;
  std::string current;
  for (const MetricPoint& point : sampler.Metrics()) {
    EXPECT_TRUE(absl::StartsWith(point.name, "bitmill_")) << point.name;
    EXPECT_EQ(absl::EndsWith(point.name, "_total"), point.type == MetricType::kCounter)
        << point.name;
    EXPECT_FALSE(point.help.empty());
    EXPECT_FALSE(absl::StrContains(point.help, '\n'));
    EXPECT_GE(point.value, 0) << point.name;  // what is not known is left out
    if (point.name != current) {
      EXPECT_TRUE(finished.insert(point.name).second) << point.name << " comes in two places";
      current = point.name;
    }
    std::string key = point.name;
    for (const auto& [name, value] : point.labels) absl::StrAppend(&key, ",", name, "=", value);
    EXPECT_TRUE(series.insert(key).second) << key;
  }
}

// What holds on any Linux machine, whatever runs on it.
TEST(HostOfThisMachineTest, RelatesSanely) {
  const SystemClock clock{};
  HostSampler sampler({.perf = OpenPerfEvents()}, clock);
  std::atomic<bool> stop{false};
  std::vector<std::thread> spinners;
  for (int i = 0; i < 3; ++i) {
    spinners.emplace_back([&stop] {
      while (!stop.load(std::memory_order_relaxed)) {
      }
    });
  }
  while (sampler.Window(60 * kSecond).seconds < 1.1) {
    sampler.Sample();
    const int64_t until = ThreadCpuNanos() + kTenth / 10;
    while (ThreadCpuNanos() < until) {
    }
  }
  const HostWindow window = sampler.Window(60 * kSecond);
  stop = true;
  for (std::thread& spinner : spinners) spinner.join();
  EXPECT_GT(window.seconds, 1);
  EXPECT_GE(window.machine_cores, 1);
  EXPECT_GT(window.cpu_budget_cores, 0);
  EXPECT_LE(window.cpu_budget_cores, window.machine_cores);
  EXPECT_GT(window.process_cpu_cores, 0.05);
  EXPECT_LE(window.process_cpu_cores, window.machine_cores * 1.1);
  EXPECT_LE(window.machine_busy_cores, window.machine_cores * 1.001);
  EXPECT_GT(window.machine_busy_cores, 0);
  for (const double share : {window.throttled_share, window.throttled_periods_share,
                             window.steal_share, window.psi_cpu_some, window.psi_memory_full}) {
    EXPECT_TRUE(share == -1 || (share >= 0 && share <= 1)) << share;
  }
  if (window.run_queue_wait_cores >= 0) {
    // Four threads either run, or wait for a CPU; a wait that goes on is not counted yet.
    EXPECT_LE(window.run_queue_wait_cores + window.process_cpu_cores, 4.5);
    EXPECT_GE(window.run_queue_wait_cores + window.process_cpu_cores, 2);
  }
  EXPECT_GT(window.resident_bytes, 1'000'000);
  EXPECT_GE(window.open_fds, 3);
  EXPECT_LE(window.open_fds, window.max_fds);
  EXPECT_GT(sampler.Newest().energy.joules, 0);
}

}  // namespace
}  // namespace bitmill
