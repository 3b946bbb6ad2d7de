#include "tests/server/analysis/injected_windows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "server/analysis/queue_replay.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kOrigin = 1'000'000'000'000;  // the window begins here
constexpr MonotonicNanos kWindow = 5'000'000'000;
constexpr MonotonicNanos kBefore = 1'500'000'000;  // simulated, but not seen
constexpr size_t kMostRecords = 10'000;
constexpr double kMilli = 1e6, kSecond = 1e9;
constexpr double kDramBytesPerNano = 10, kQuotaPeriod = 100 * kMilli;
constexpr double kUsualTransit = 100e3;

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ULL + 0x1234567) { Next(); }
  uint64_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  double Uniform() { return (static_cast<double>(Next() >> 11) + 0.5) / 9007199254740992.0; }
  double Between(double low, double high) { return low + (high - low) * Uniform(); }
  double Exponential(double mean) { return -std::log(Uniform()) * mean; }
  bool Chance(double probability) { return Uniform() < probability; }
  // About 1, with a tail to the right.
  double Noise(double sigma) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += Uniform();
    return std::exp(sigma * sum);
  }

 private:
  uint64_t state_;
};

// The mechanisms. Times are nanoseconds.
struct Setup {
  double a = 0, b = 0;  // an execution takes a + b rows
  int max_rows = 8, instances = 1;
  double load = 0.3;           // of capacity
  double rate_per_second = 0;  // instead of load, when not 0
  double delay = 0;
  int request_rows = 1;
  int bucket_factor = 0;  // rows are padded to 4, 4 f, 4 f^2 ...; 0: they are not
  double objective_ms = 0;
  double floor_per_row = 0, weight_bytes = 50e3;
  double decode = 8e3, encode = 4e3, wake = 40e3;
  double input_bytes = 3072, output_bytes = 40;
  double write = 0, transit = -1;
  double quota_of_need = 0;  // CPUs granted, of those that the load needs; 0: no quota
  double own_share = 1;      // of a CPU, while others want it too
  double lock_chance = 0, lock_mean = 0;
  double fault_chance = 0, fault_mean = 0;
  double device_mean = 0;
  double slow_instance = 1;
  bool slow_by_waiting = false;
  double cold_factor = 0, cold_decay = 0;
  bool line_known = true;
  // What is always there and does no harm.
  double others = 0.1;  // CPUs used by others
  double burst = 0;     // arrivals come at 1 +- burst times the rate, for 0.3 s on average
  int more_rows = 0;    // of a request, at most
  double nap_chance = 0, nap_mean = 0;
  double harmless_hold = 0;  // share of the time, where the quota is hardly ever used up
  double lone() const { return a + b; }
  double Capacity() const {
    return instances * max_rows / (a + b * PaddedRows(max_rows));
  }  // per ns
  double PaddedRows(double rows) const {
    if (bucket_factor == 0) return rows;
    double bucket = 4;
    while (bucket < rows) bucket *= bucket_factor;
    return bucket;
  }
};

Setup BaseOf(SimulatedModel model) {
  switch (model) {
    case SimulatedModel::kMicro:
      return {.a = 60e3,
              .b = 20e3,
              .max_rows = 8,
              .instances = 1,
              .load = 0.05,
              .floor_per_row = 6e3,
              .wake = 2e3};
    case SimulatedModel::kCompute:
      return {.a = 0.5e6,
              .b = 2.5e6,
              .max_rows = 8,
              .instances = 2,
              .load = 0.3,
              .floor_per_row = 1.9e6,
              .weight_bytes = 400e3};
    case SimulatedModel::kMemory:
      break;
  }
  return {.a = 12e6,
          .b = 0.5e6,
          .max_rows = 16,
          .instances = 1,
          .load = 0.15,
          .floor_per_row = 50e3,
          .weight_bytes = 110e6};
}

template <typename T>
T Pick(int intensity, T low, T middle, T high) {
  return intensity == 0 ? low : intensity == 1 ? middle : high;
}

void ApplyLoadCause(Cause cause, int intensity, SimulatedModel model, Setup& setup) {
  const double lone = setup.lone();
  switch (cause) {
    case Cause::kOverload:
      setup.load = Pick(intensity, 1.1, 1.2, 1.5);
      return;
    case Cause::kBatchFormationWait: {
      const double base_ms = Pick(static_cast<int>(model), 1.0, 10.0, 20.0);
      setup.delay = base_ms * Pick(intensity, 1.0, 2.5, 6.0) * kMilli;
      setup.rate_per_second = std::clamp(2 * kSecond / setup.delay, 15.0, 2000.0);
      return;
    }
    case Cause::kComputeBound:
      setup.a = 0.1 * lone;
      setup.b = 0.9 * lone;
      setup.floor_per_row = Pick(intensity, 0.65, 0.75, 0.9) * setup.b;
      setup.weight_bytes = 100;
      setup.objective_ms = Pick(intensity, 0.9, 0.7, 0.5) * lone / kMilli;
      return;
    case Cause::kMemoryBound:
      setup.a = 0.95 * lone;
      setup.b = 0.05 * lone;
      setup.floor_per_row = 0.01 * lone;
      setup.weight_bytes = Pick(intensity, 0.65, 0.75, 0.9) * setup.a * kDramBytesPerNano;
      setup.objective_ms = Pick(intensity, 0.9, 0.7, 0.5) * lone / kMilli;
      return;
    case Cause::kPaddingWaste:
      setup.a = 0.1 * lone;
      setup.b = 0.3 * lone;
      setup.max_rows = 64;
      setup.bucket_factor = Pick(intensity, 2, 4, 4);
      setup.request_rows = Pick(intensity, 9, 5, 17);
      setup.floor_per_row = 0.3 * setup.b;
      setup.load = std::max(setup.load, 0.5);
      setup.weight_bytes = 100;
      return;
    default:
      return;
  }
}

void Apply(Cause cause, int intensity, uint64_t seed, Setup& setup) {
  const double lone = setup.lone();
  switch (cause) {
    case Cause::kCpuThrottled:
      setup.quota_of_need = Pick(intensity, 0.85, 0.7, 0.5);
      if (seed % 2 == 0) setup.transit = 150e3;  // clients that tell
      return;
    case Cause::kNoisyNeighbour:
      setup.own_share = Pick(intensity, 0.6, 0.45, 0.3);
      setup.load = std::min(setup.load, 0.2);
      return;
    case Cause::kSerialization:
      setup.decode = Pick(intensity, 1.5, 3.0, 6.0) * std::max(lone, 0.3 * kMilli);
      setup.encode = 0.1 * setup.decode;
      setup.input_bytes = setup.decode * 0.5;
      return;
    case Cause::kSlowClient: {
      const double slow = Pick(intensity, 2.0, 5.0, 20.0) * std::max(lone, 0.5 * kMilli);
      (seed % 2 == 0 ? setup.transit : setup.write) = slow;
      return;
    }
    case Cause::kColdStart:
      setup.cold_factor = Pick(intensity, 5.0, 12.0, 40.0);
      setup.cold_decay = 0.5 * kSecond;
      setup.line_known = seed % 2 == 0;
      return;
    case Cause::kLockContention:
      setup.lock_chance = Pick(intensity, 0.3, 0.5, 0.7);
      setup.lock_mean = Pick(intensity, 1.0, 1.5, 3.0) * std::max(lone, 0.3 * kMilli);
      setup.load = std::min(setup.load, 0.2);
      return;
    case Cause::kImbalance:
      setup.instances = 2;
      setup.slow_instance = Pick(intensity, 2.0, 3.0, 6.0);
      if (lone < kMilli) setup.slow_instance *= 3;
      setup.slow_by_waiting = seed % 2 == 0;
      setup.load = std::min(setup.load, 0.15);
      return;
    case Cause::kDeviceQueue:
      setup.device_mean = Pick(intensity, 1.0, 2.0, 5.0) * std::max(lone, 0.3 * kMilli);
      setup.load = std::min(setup.load, 0.12);
      return;
    case Cause::kMemoryPressure:
      setup.fault_chance = Pick(intensity, 0.1, 0.25, 0.5);
      setup.fault_mean = Pick(intensity, 2.0, 2.0, 3.0) * std::max(lone, 0.5 * kMilli);
      setup.load = std::min(setup.load, 0.2);
      return;
    default:
      return;
  }
}

struct Interval {
  double begin = 0, end = 0;
};

// When a quota of `cpus` is used up, by a load that needs `need` CPUs and may use `width` at once:
// work that comes while the group is held back is done after it.
std::vector<Interval> HeldIntervals(double begin, double end, double need, double width,
                                    double cpus) {
  constexpr double kStep = 0.25 * kMilli;
  std::vector<Interval> held;
  double waiting = 0;
  for (double period = begin; period < end; period += kQuotaPeriod) {
    double left = cpus * kQuotaPeriod;
    for (double at = period; at < period + kQuotaPeriod; at += kStep) {
      waiting += need * kStep;
      if (left <= 0) continue;
      const double used = std::min({width * kStep, waiting, left});
      waiting -= used;
      left -= used;
      if (left <= 0) held.push_back({.begin = at + kStep, .end = period + kQuotaPeriod});
    }
  }
  return held;
}

class Simulator {
 public:
  // `setup` from `began` on, `before` until then.
  Simulator(const Setup& before, const Setup& setup, double began, uint64_t seed)
      : before_(before), setup_(setup), began_(began), random_(seed) {
    if (setup.quota_of_need > 0) {
      const double need = Need();
      held_ =
          HeldIntervals(std::max(began, -static_cast<double>(kBefore)),
                        static_cast<double>(kWindow), need, 1.3 * need, setup.quota_of_need * need);
    }
  }

  InjectedWindow Run() {
    MakeArrivals();
    const ModelControls controls{.max_rows = setup_.max_rows,
                                 .max_delay_ns = std::llround(setup_.delay),
                                 .instances = setup_.instances};
    result_ = Replay(arrivals_, controls, [this](int64_t rows, MonotonicNanos start, int instance) {
      return Execute(rows, static_cast<double>(start - kOrigin), instance);
    });
    InjectedWindow out;
    out.window.controls = controls;
    FillFacts(out);
    FillExecutions(out.window);
    FillRequests(out.window);
    FillHost(out);
    Sample(out.window);
    return out;
  }

 private:
  // CPUs that the load needs; batches make up for what the instances cannot do one by one.
  double Need() const {
    const double rate = RateOf(setup_);
    return std::min(rate * setup_.lone(), 0.9 * setup_.instances) +
           rate * (setup_.decode + setup_.encode);
  }
  static double RateOf(const Setup& setup) {  // requests a nanosecond
    if (setup.rate_per_second > 0) return setup.rate_per_second / kSecond;
    return setup.load * setup.Capacity() / (setup.request_rows + 0.5 * setup.more_rows);
  }
  const Setup& At(double at) const { return at < began_ ? before_ : setup_; }
  // Of the window's time, since the causes began.
  double Share() const {
    return std::min((static_cast<double>(kWindow) - began_) / static_cast<double>(kWindow), 1.0);
  }

  double AfterHold(double at) const {
    const auto next = std::upper_bound(held_.begin(), held_.end(), at,
                                       [](double x, const Interval& held) { return x < held.end; });
    return next != held_.end() && at >= next->begin ? next->end : at;
  }

  // When work of `cpu` nanoseconds that begins at `at` is done.
  double RunThroughHolds(double at, double cpu) const {
    at = AfterHold(at);
    for (auto next = std::upper_bound(held_.begin(), held_.end(), at,
                                      [](double x, const Interval&held) { return x < held.begin; });
         next != held_.end() && at + cpu > next->begin; ++next) {
      cpu -= next->begin - at;
      at = next->end;
    }
    return at + cpu;
  }

  // Waiting for a turn while running `cpu` nanoseconds beside others: at the start, and after each
  // slice.
  double TurnsOfOthers(double cpu, const Setup& now) {
    constexpr double kSlice = 3 * kMilli;
    if (now.own_share >= 1) return 0;
    const double others = 1 - now.own_share;
    double wait = random_.Chance(0.4 * others) ? random_.Between(0, kSlice) : 0;
    for (double ran = random_.Exponential(kSlice); ran < cpu; ran += random_.Exponential(kSlice)) {
      wait += random_.Exponential(kSlice) * others / now.own_share;
    }
    return wait;
  }

  void MakeArrivals() {
    const bool cold = setup_.cold_factor > 0;
    double at = cold ? LoadedAt() : -static_cast<double>(kBefore);
    double phase_ends = at, factor = 1;
    while (true) {
      while (at >= phase_ends) {
        factor = random_.Chance(0.5) ? 1 + setup_.burst : 1 - setup_.burst;
        phase_ends += random_.Exponential(0.3 * kSecond);
      }
      at += random_.Exponential(1 / (RateOf(At(at)) * factor));
      if (at >= static_cast<double>(kWindow)) break;
      const Setup& now = At(at);
      RequestRecord record;
      const double received = AfterHold(at);
      record.received_ns = kOrigin + std::llround(received);
      if (now.transit >= 0) {
        record.transit_ns = std::llround(now.transit * random_.Noise(0.1) + received - at);
      }
      record.rows = now.request_rows;
      if (now.more_rows > 0) {
        record.rows +=
            static_cast<int32_t>(random_.Next() % static_cast<uint64_t>(now.more_rows + 1));
      }
      record.input_bytes = static_cast<uint32_t>(now.input_bytes * record.rows);
      record.output_bytes = static_cast<uint32_t>(now.output_bytes * record.rows);
      const auto took = [this, &now](double usual) {
        const double cpu = usual * random_.Noise(0.15);
        return std::llround(cpu + TurnsOfOthers(cpu, now));
      };
      record.stages[Stage::kDecode] = took(now.decode);
      record.stages[Stage::kEncode] = took(now.encode);
      record.stages[Stage::kAssemble] = std::llround(500 * random_.Noise(0.2));
      record.stages[Stage::kSchedule] = took(now.wake);
      record.stages[Stage::kSplit] = std::llround(300 * random_.Noise(0.2));
      if (now.write > 0)
        record.write_ns = std::llround(now.write * random_.Noise(0.2));
      else
        record.write_ns = std::llround(random_.Between(2e3, 9e3));
      records_.push_back(record);
    }
    const auto queued = [](const RequestRecord& record) {
      return record.received_ns + record.stages[Stage::kDecode] + record.stages[Stage::kEncode];
    };
    std::sort(records_.begin(), records_.end(),
              [&](const auto& x, const auto& y) { return queued(x) < queued(y); });
    for (const RequestRecord& record : records_) {
      arrivals_.push_back({.arrive_ns = queued(record), .rows = record.rows});
    }
  }

  double LoadedAt() const {
    return setup_.cold_factor > 0 ? std::max(began_, 0.3 * kSecond) : -600 * kSecond;
  }

  // What begins in a hold, because a delay has passed, begins after it.
  int64_t Execute(int64_t rows, double due, int instance) {
    const double start = AfterHold(due);
    const Setup& now = At(start);
    ExecutionRecord record;
    record.start_ns = kOrigin + std::llround(start);
    record.rows = static_cast<int32_t>(rows);
    record.padded_rows = static_cast<int32_t>(now.PaddedRows(static_cast<double>(rows)));
    record.instance = instance;
    double cpu = (now.a + now.b * record.padded_rows) * random_.Noise(0.04);
    record.minor_faults = random_.Chance(0.02) ? 1 : 0;
    if (setup_.cold_factor > 0) {
      const double age = start - LoadedAt();
      cpu *= 1 + setup_.cold_factor * std::exp(-age / setup_.cold_decay);
      if (age < 2 * setup_.cold_decay) record.minor_faults += 200;
    }
    double ready = TurnsOfOthers(cpu, now) + (random_.Chance(0.01) ? random_.Exponential(50e3) : 0);
    if (instance == 1 && now.slow_instance > 1) {
      const double more = cpu * (now.slow_instance - 1) * random_.Noise(0.1);
      (now.slow_by_waiting ? ready : cpu) += more;
    }
    double asleep = 0;
    if (random_.Chance(now.lock_chance)) {
      asleep += random_.Exponential(now.lock_mean);
      record.blocked = 1 + static_cast<int32_t>(random_.Next() % 3);
    }
    if (random_.Chance(now.nap_chance)) {
      asleep += random_.Exponential(now.nap_mean);
      ++record.blocked;
    }
    if (random_.Chance(now.fault_chance)) {
      record.major_faults = 1 + static_cast<int32_t>(random_.Next() % 4);
      record.blocked += record.major_faults;
      asleep += record.major_faults * random_.Exponential(now.fault_mean / 2.5);
    }
    const double device = now.device_mean > 0 ? random_.Exponential(now.device_mean) : 0;
    if (setup_.device_mean > 0) record.device_queue_ns = std::llround(device);
    const double on_cpu_until = RunThroughHolds(start, cpu);
    ready += on_cpu_until - start - cpu;
    record.compute_ns = std::max<int64_t>(std::llround(cpu + ready + asleep + device), 1);
    cpu_used_.push_back(cpu);
    ready_.push_back(ready);
    late_.push_back(start - due);
    if (record.compute_ns > 200'000 || executions_.size() % 8 == 0) {  // short ones are sampled
      record.cpu_ns = std::llround(cpu);
      record.run_queue_wait_ns = std::llround(ready);
    }
    executions_.push_back(record);
    return record.compute_ns + std::llround(start - due);
  }

  void FillFacts(InjectedWindow& out) {
    ModelWindow& window = out.window;
    window.facts = {.name = "model",
                    .version = 1,
                    .row_macs = 1e6,
                    .compute_floor_ns = setup_.floor_per_row,
                    .weight_bytes = std::llround(setup_.weight_bytes),
                    .row_bytes = std::llround(setup_.input_bytes + setup_.output_bytes),
                    .loaded_ns = kOrigin + std::llround(LoadedAt())};
    window.objective.p99_ms = setup_.objective_ms;
    window.begin_ns = kOrigin;
    window.end_ns = kOrigin + kWindow;
    out.limits = {.bit_macs_per_s = 1e12,
                  .lowbit_int8_macs_per_s = 2e11,
                  .fp32_macs_per_s = 5e10,
                  .l1_bytes_per_s = 200e9,
                  .l2_bytes_per_s = 80e9,
                  .l3_bytes_per_s = 30e9,
                  .dram_bytes_per_s = kDramBytesPerNano * 1e9};
    if (setup_.line_known) {
      out.line = {.a_ms = setup_.a / kMilli * random_.Noise(0.02),
                  .b_ms = setup_.b / kMilli * random_.Noise(0.02),
                  .relative_error = 0.05,
                  .samples = 500};
    }
  }

  void FillExecutions(ModelWindow& window) {
    for (size_t i = 0; i < executions_.size(); ++i) {
      ExecutionRecord& record = executions_[i];
      record.requests = result_.executions[i].requests;
      record.closed = result_.executions[i].closed;
      const MonotonicNanos end = record.start_ns + record.compute_ns;
      if (end < window.begin_ns || end >= window.end_ns) continue;
      ++window.executions;
      cpu_ns_ += cpu_used_[i];
      ready_ns_ += ready_[i];
      major_faults_ += record.major_faults;
      window.executions_seen.push_back(record);
    }
    std::sort(window.executions_seen.begin(), window.executions_seen.end(),
              [](const auto& x, const auto& y) { return x.start_ns < y.start_ns; });
  }

  void FillRequests(ModelWindow& window) {
    double in_system = 0;
    for (size_t i = 0; i < records_.size(); ++i) {
      RequestRecord& record = records_[i];
      const ReplayOutcome& outcome = result_.requests[i];
      const int64_t around = record.stages[Stage::kDecode] + record.stages[Stage::kEncode];
      if (outcome.fate == ReplayFate::kAnswered) {
        const auto execution = static_cast<size_t>(outcome.execution);
        const int64_t late = std::llround(late_[execution]);
        record.stages[Stage::kQueue] = outcome.queue_ns + late;
        record.formation_ns = outcome.formation_ns + (setup_.delay > 0 ? late : 0);
        record.stages[Stage::kCompute] = executions_[execution].compute_ns;
        record.batch_rows = executions_[execution].rows;
        record.closed = result_.executions[execution].closed;
        record.total_ns = 0;
        for (const int64_t ns : record.stages.ns) record.total_ns += ns;
        record.total_ns += std::llround(random_.Between(200, 900));  // between the stages
      } else {
        record.code = 8;
        record.total_ns = around;
        record.write_ns = 0;
      }
      const MonotonicNanos end = record.received_ns + record.total_ns;
      in_system += static_cast<double>(std::max<int64_t>(
          std::min(end, window.end_ns) - std::max(record.received_ns, window.begin_ns), 0));
      if (record.received_ns < window.end_ns && end >= window.end_ns) ++window.queue_depth;
      if (end < window.begin_ns || end >= window.end_ns) continue;
      ++window.arrived;
      if (record.code == 0) {
        ++window.answered;
        window.rows += record.rows;
      } else {
        ++window.refused;
      }
      cpu_ns_ += static_cast<double>(around);
      window.requests.push_back(record);
    }
    std::sort(window.requests.begin(), window.requests.end(),
              [](const auto& x, const auto& y) { return x.received_ns < y.received_ns; });
    window.mean_in_system = in_system / static_cast<double>(kWindow);
  }

  void FillHost(InjectedWindow& out) {
    const double seconds = static_cast<double>(kWindow) / kSecond;
    HostWindow& host = out.host;
    host.seconds = seconds;
    host.cpu_budget_cores = std::max(setup_.instances, 2);
    host.machine_cores = 4;
    host.process_cpu_cores = cpu_ns_ / static_cast<double>(kWindow);
    double others = setup_.others;
    if (setup_.own_share < 0.9) {
      others += Share() * std::max(random_.Between(2.2, 3.0) - others, 0.0);
    }
    if (setup_.slow_instance > 1 && setup_.slow_by_waiting) others += Share();
    host.machine_busy_cores = std::min(host.process_cpu_cores + others, 4.0);
    host.run_queue_wait_cores =
        ready_ns_ / static_cast<double>(kWindow) + random_.Between(0.001, 0.02);
    host.psi_cpu_some = std::min(host.run_queue_wait_cores + random_.Between(0, 0.03), 1.0);
    host.steal_share = random_.Between(0, 0.004);
    host.throttled_share = host.throttled_periods_share = random_.Chance(0.5) ? 0 : -1;
    if (setup_.harmless_hold > 0) {
      host.throttled_share = setup_.harmless_hold;
      host.throttled_periods_share = 2 * setup_.harmless_hold;
    }
    if (setup_.quota_of_need > 0) {
      double held = 0;
      for (const Interval& interval : held_) {
        if (interval.begin >= 0) held += interval.end - interval.begin;
      }
      const auto periods =
          std::count_if(held_.begin(), held_.end(), [](const Interval& x) { return x.begin >= 0; });
      host.throttled_share = held / static_cast<double>(kWindow);
      host.throttled_periods_share =
          static_cast<double>(periods) * kQuotaPeriod / static_cast<double>(kWindow);
      host.cpu_budget_cores = 2;
    }
    host.psi_memory_some = random_.Between(0, 0.002);
    host.psi_memory_full = host.psi_io_some = 0;
    host.minor_faults_per_s = random_.Between(10, 200);
    host.memory_limit_bytes = 1LL << 30;
    host.memory_used_bytes = 1LL << 29;
    host.resident_bytes = 1LL << 29;
    if (setup_.fault_chance > 0) {
      host.major_faults_per_s = major_faults_ / seconds;
      host.psi_memory_some = Share() * random_.Between(0.05, 0.3);
      host.psi_io_some = Share() * random_.Between(0.05, 0.3);
      host.memory_limit_hits_per_s = Share() * random_.Between(1, 50);
      host.memory_used_bytes = host.memory_limit_bytes;
    }
    host.open_fds = 40;
    host.max_fds = 1024;
  }

  // A uniform sample of at most kMostRecords.
  template <typename Record>
  double Thin(std::vector<Record>& records) {
    const size_t count = records.size();
    if (count <= kMostRecords) return 1;
    std::vector<Record> kept;
    for (size_t i = 0; i < count; ++i) {
      const size_t left = count - i, wanted = kMostRecords - kept.size();
      if (random_.Chance(static_cast<double>(wanted) / static_cast<double>(left))) {
        kept.push_back(records[i]);
      }
    }
    const double weight = static_cast<double>(count) / static_cast<double>(kept.size());
    records = std::move(kept);
    return weight;
  }

  void Sample(ModelWindow& window) {
    window.request_weight = Thin(window.requests);
    window.execution_weight = Thin(window.executions_seen);
  }

  const Setup before_, setup_;
  const double began_;  // in the window; before all: -infinity
  Random random_;
  std::vector<Interval> held_;
  std::vector<RequestRecord> records_;
  std::vector<ReplayRequest> arrivals_;
  ReplayResult result_;
  std::vector<ExecutionRecord> executions_;
  std::vector<double> cpu_used_, ready_, late_;  // of each execution
  double cpu_ns_ = 0, ready_ns_ = 0, major_faults_ = 0;
};

// A busy world: of these each window has some.
void AddBackground(Random random, Setup& setup) {
  const double lone = setup.lone();
  setup.others = random.Chance(0.4) ? random.Between(0.5, 1.2) : random.Between(0.02, 0.3);
  // Seldom enough not to be p99, of requests that take turns four times.
  if (setup.own_share >= 1 && setup.others > 0.5) setup.own_share = lone < kMilli ? 0.998 : 0.98;
  if (random.Chance(0.3)) setup.burst = random.Between(0.1, 0.4);
  if (random.Chance(0.3) && setup.bucket_factor == 0 && setup.objective_ms == 0) {
    setup.more_rows = 2;
  }
  if (random.Chance(0.3)) {
    setup.nap_chance = 0.03;
    setup.nap_mean = 0.2 * lone;
  }
  if (random.Chance(0.3)) setup.harmless_hold = random.Between(0.0005, 0.004);
  if (random.Chance(0.3) && setup.write == 0) setup.write = random.Between(0.02, 0.1) * lone;
  if (random.Chance(0.5) && setup.transit < 0) setup.transit = random.Between(50e3, 150e3);
}

// As it was until the causes began: the same model, settings and, but for an overload, load.
Setup BeforeOf(const InjectedCase& injected, const Setup& setup) {
  Setup before = BaseOf(injected.model);
  before.instances = setup.instances;
  const bool overload =
      std::ranges::find(injected.causes, Cause::kOverload) != injected.causes.end();
  if (!overload) before.load = setup.load;
  return before;
}

}  // namespace

InjectedWindow MakeInjectedWindow(const InjectedCase& injected) {
  Setup setup = BaseOf(injected.model);
  if (injected.causes.empty()) {
    setup.load = injected.model == SimulatedModel::kMicro
                     ? Pick(injected.intensity, 0.02, 0.05, 0.2)
                     : Pick(injected.intensity, 0.1, 0.3, 0.6);
    if (injected.seed % 3 == 0) setup.objective_ms = 10 * setup.lone() / kMilli;
  }
  for (const Cause cause : injected.causes) {
    ApplyLoadCause(cause, injected.intensity, injected.model, setup);
  }
  for (const Cause cause : injected.causes) {
    Apply(cause, injected.intensity, injected.seed, setup);
  }
  uint64_t seed = injected.seed * 1009 + static_cast<uint64_t>(injected.model) * 31 +
                  static_cast<uint64_t>(injected.intensity) * 7;
  for (const Cause cause : injected.causes) seed = seed * 37 + static_cast<uint64_t>(cause);
  const Random background(injected.seed * 77 + static_cast<uint64_t>(injected.model));
  AddBackground(background, setup);
  if (injected.since_seconds <= 0) {
    return Simulator(setup, setup, -std::numeric_limits<double>::infinity(), seed).Run();
  }
  Setup before = BeforeOf(injected, setup);
  AddBackground(background, before);
  before.burst = setup.burst;
  before.transit = setup.transit < 0 ? -1 : kUsualTransit;
  const double began = static_cast<double>(kWindow) - injected.since_seconds * kSecond;
  return Simulator(before, setup, began, seed).Run();
}

bool CanBegin(Cause cause) {
  switch (cause) {
    case Cause::kBatchFormationWait:
    case Cause::kComputeBound:
    case Cause::kMemoryBound:
    case Cause::kPaddingWaste:
      return false;
    default:
      return cause >= Cause::kOverload;
  }
}

std::vector<Cause> InjectableCauses() {
  std::vector<Cause> causes;
  for (int i = static_cast<int>(Cause::kOverload); i < kCauses; ++i) {
    causes.push_back(static_cast<Cause>(i));
  }
  return causes;
}

}  // namespace bitmill
