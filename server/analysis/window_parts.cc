#include "server/analysis/window_parts.h"

#include <cmath>
#include <limits>

#include "server/analysis/clean_line.h"

namespace bitmill {
namespace {

constexpr double kUsualSpread = 1.3;       // of an undisturbed execution over the line
constexpr double kUsualRequestSpread = 2;  // of decoding and waking over their usual time
constexpr double kIdealWaking = 200e3;     // of a worker, at most
// What moving a byte through gRPC and a socket takes at most, whoever the client is: 1 GB/s.
constexpr double kWireNanosPerByte = 1;
constexpr int64_t kBurstNanos = 500'000'000;
constexpr int64_t kBurstRequests = 50;  // in half a second, so that chance makes no burst

double ComputedRows(const ExecutionRecord& execution) {
  return std::max({execution.rows, execution.padded_rows, 1});
}

// What was measured of it; whose the waiting was is settled later. `throttled` holds all time that
// it was ready but did not run, `unexplained` the rest of the time off the CPU.
ExecutionParts Measured(const ExecutionRecord& record) {
  ExecutionParts parts;
  parts.wall = static_cast<double>(record.compute_ns);
  const bool on_device = record.device_queue_ns >= 0;
  if (on_device) parts.device = std::min(static_cast<double>(record.device_queue_ns), parts.wall);
  if (!on_device && record.cpu_ns >= 0) {
    const double off = std::max(parts.wall - static_cast<double>(record.cpu_ns), 0.0);
    parts.throttled = std::clamp(static_cast<double>(record.run_queue_wait_ns), 0.0, off);
    const double gap = off - parts.throttled;
    if (record.major_faults > 0) {
      parts.paging = gap;
    } else if (record.blocked > 0) {
      parts.asleep = gap;
    } else {
      parts.unexplained = gap;
    }
  }
  parts.work = parts.wall - parts.waits();
  return parts;
}

// Executions that were not measured are disturbed as those that were.
void SpreadOverUnmeasured(const ModelWindow& window, std::vector<ExecutionParts>& executions) {
  ExecutionParts seen;
  for (size_t i = 0; i < executions.size(); ++i) {
    if (window.executions_seen[i].cpu_ns < 0) continue;
    seen.throttled += executions[i].throttled;
    seen.asleep += executions[i].asleep;
    seen.unexplained += executions[i].unexplained;
    seen.paging += executions[i].paging;
    seen.work += std::max(executions[i].work - kUsualSpread * executions[i].clean, 0.0);
  }
  const double waits = seen.waits();
  const double total = waits + seen.work;
  for (size_t i = 0; i < executions.size(); ++i) {
    const ExecutionRecord& record = window.executions_seen[i];
    ExecutionParts& parts = executions[i];
    if (record.cpu_ns >= 0 || record.device_queue_ns >= 0) continue;
    const double excess = parts.wall - kUsualSpread * parts.clean;
    if (excess <= 0) continue;
    if (record.major_faults > 0) {
      parts.paging = excess;
    } else if (record.blocked > 0) {
      parts.asleep = excess;
    } else if (total > 0) {
      parts.throttled = excess * seen.throttled / total;
      parts.asleep = excess * seen.asleep / total;
      parts.unexplained = excess * seen.unexplained / total;
    } else {
      parts.throttled = excess;  // ready, most likely
    }
    parts.work = parts.wall - parts.waits();
  }
}

// Executions at a time while any runs: their time over the time that is covered by them.
double Concurrency(const std::vector<ExecutionRecord>& executions) {
  double sum = 0, covered = 0;
  MonotonicNanos until = 0;
  for (const ExecutionRecord& execution : executions) {
    const MonotonicNanos end = execution.start_ns + execution.compute_ns;
    sum += static_cast<double>(execution.compute_ns);
    if (end <= until) continue;
    covered += static_cast<double>(end - std::max(execution.start_ns, until));
    until = end;
  }
  return covered > 0 ? sum / covered : 1;
}

// Divides the time ready but not running between the quota and others, and gives the time off the
// CPU that was neither to the quota or the hypervisor. Kernels count a held back thread as ready.
void NameWaits(const WindowParts& all, std::vector<ExecutionParts>& executions) {
  double ready = 0;
  for (const ExecutionParts& parts : executions) ready += parts.throttled;
  ready *= all.window.execution_weight;
  double quota = 0;
  if (all.throttled_gate) {
    const double held =
        std::max(all.host.throttled_share, 0.0) * all.window.seconds() * 1e9 * all.concurrency;
    quota = ready > 0 ? std::min(held / ready, 1.0) : 1;
    if (!all.neighbour_gate) quota = 1;
  }
  for (ExecutionParts& parts : executions) {
    const double waited = parts.throttled;
    parts.throttled = waited * quota;
    (all.neighbour_gate ? parts.neighbour : parts.unexplained) += waited - parts.throttled;
    if (all.throttled_gate) {
      parts.throttled += parts.unexplained;
      parts.unexplained = 0;
    } else if (all.host.steal_share >= all.thresholds.steal_share) {
      parts.neighbour += parts.unexplained;
      parts.unexplained = 0;
    }
  }
}

void TakeExecutionsApart(WindowParts& all) {
  const std::vector<ExecutionRecord>& seen = all.window.executions_seen;
  std::vector<CleanSample> samples;
  samples.reserve(seen.size());
  double rows = 0, computed = 0;
  for (const ExecutionRecord& record : seen) {
    all.executions.push_back(Measured(record));
    samples.push_back({.rows = ComputedRows(record), .ns = all.executions.back().work});
    rows += std::max(record.rows, 1);
    computed += ComputedRows(record);
  }
  // The known line is by rows that were asked for. Where more are computed it says nothing of those
  // that are not: the time of executions that are all padded alike is taken as in proportion.
  const ServiceLine none;
  const bool padded = computed > all.thresholds.padding_ratio * rows;
  all.clean = FitCleanLine(samples, padded ? none : all.known_line, all.thresholds.min_executions);
  for (size_t i = 0; i < seen.size(); ++i) {
    all.executions[i].clean = all.CleanNanos(ComputedRows(seen[i]));
  }
  SpreadOverUnmeasured(all.window, all.executions);
  all.concurrency = Concurrency(seen);
  NameWaits(all, all.executions);
  for (const ExecutionParts& parts : all.executions) {
    all.sum.wall += parts.wall;
    all.sum.clean += parts.clean;
    all.sum.work += parts.work;
    all.sum.throttled += parts.throttled;
    all.sum.neighbour += parts.neighbour;
    all.sum.asleep += parts.asleep;
    all.sum.paging += parts.paging;
    all.sum.device += parts.device;
    all.sum.unexplained += parts.unexplained;
  }
  if (rows > 0) {
    all.padding = computed / rows;
    all.mean_batch_rows = rows / static_cast<double>(seen.size());
  }
  all.limit_share = ShareOfLimits(all.window.facts, all.limits, computed,
                                  static_cast<double>(seen.size()), all.sum.clean);
}

// Decoding and encoding cost about the same for each byte; what is far above was waiting.
struct UsualRequest {
  double serialization = 0;       // median
  double serialization_byte = 0;  // median of those with many bytes
  double waking = 0;              // first quartile of assemble and schedule
};

double SerializationNanos(const RequestRecord& record) {
  return static_cast<double>(record.stages[Stage::kDecode] + record.stages[Stage::kSplit] +
                             record.stages[Stage::kEncode]);
}

double WakingNanos(const RequestRecord& record) {
  return static_cast<double>(record.stages[Stage::kAssemble] + record.stages[Stage::kSchedule]);
}

double Bytes(const RequestRecord& record) {
  return static_cast<double>(record.input_bytes) + record.output_bytes;
}

UsualRequest FindUsualRequest(const WindowParts& all) {
  std::vector<double> serialization, per_byte, waking;
  double bytes = 0;
  for (const RequestParts& parts : all.requests) {
    const RequestRecord& record = all.window.requests[static_cast<size_t>(parts.record)];
    serialization.push_back(SerializationNanos(record));
    waking.push_back(WakingNanos(record));
    bytes += Bytes(record);
  }
  bytes /= std::max<double>(static_cast<double>(all.requests.size()), 1);
  for (const RequestParts& parts : all.requests) {
    const RequestRecord& record = all.window.requests[static_cast<size_t>(parts.record)];
    if (Bytes(record) < std::max(bytes, 1.0)) continue;
    per_byte.push_back(SerializationNanos(record) / Bytes(record));
  }
  return {.serialization = TakeQuantile(serialization, 0.5),
          .serialization_byte = TakeQuantile(per_byte, 0.5),
          .waking = TakeQuantile(waking, 0.25)};
}

// No delay keeps a request longer than this: who waits on waits for the thread that would close the
// batch.
double LongestFormation(const ModelControls& controls) {
  if (controls.max_delay_ns <= 0) return std::numeric_limits<double>::infinity();
  return static_cast<double>(controls.max_delay_ns) + kIdealWaking;
}

void TakeRequestsApart(WindowParts& all) {
  const double longest_formation = LongestFormation(all.window.controls);
  double rows = 0;
  for (size_t i = 0; i < all.window.requests.size(); ++i) {
    const RequestRecord& record = all.window.requests[i];
    if (record.code != 0) continue;
    RequestParts parts;
    parts.record = static_cast<int32_t>(i);
    parts.transit = static_cast<double>(std::max<int64_t>(record.transit_ns, 0));
    parts.write = static_cast<double>(record.write_ns);
    const double wire_in = std::min(parts.transit, kWireNanosPerByte * record.input_bytes);
    const double wire_out = std::min(parts.write, kWireNanosPerByte * record.output_bytes);
    parts.transit -= wire_in;
    parts.write -= wire_out;
    parts.wire = wire_in + wire_out;
    const auto formation = static_cast<double>(record.formation_ns);
    parts.formation = std::min(formation, longest_formation);
    parts.held = formation - parts.formation;
    parts.queue = std::max(static_cast<double>(record.stages[Stage::kQueue]) - formation, 0.0);
    parts.compute = static_cast<double>(record.stages[Stage::kCompute]);
    parts.waking = WakingNanos(record);
    parts.latency = static_cast<double>(record.total_ns) + parts.transit + parts.write + parts.wire;
    rows += record.rows;
    all.requests.push_back(parts);
  }
  if (all.requests.empty()) return;
  const UsualRequest usual = FindUsualRequest(all);
  std::vector<double> undisturbed, transits, writes;
  for (RequestParts& parts : all.requests) {
    const RequestRecord& record = all.window.requests[static_cast<size_t>(parts.record)];
    const double serialization = SerializationNanos(record);
    parts.serialization = std::min(
        serialization, kUsualRequestSpread *
                           std::max(usual.serialization, usual.serialization_byte * Bytes(record)));
    parts.held += serialization - parts.serialization +
                  std::max(WakingNanos(record) - kUsualRequestSpread * usual.waking, 0.0);
    parts.serialization += parts.wire;
    undisturbed.push_back(parts.serialization + std::min(usual.waking, kIdealWaking) +
                          all.CleanNanos(std::max(record.rows, 1)));
    transits.push_back(parts.transit);
    writes.push_back(parts.write);
    all.mean.latency += parts.latency;
    all.mean.serialization += parts.serialization;
    all.mean.held += parts.held;
    all.mean.waking += parts.waking;
    all.mean.transit += parts.transit;
    all.mean.write += parts.write;
    all.mean.queue += parts.queue;
    all.mean.formation += parts.formation;
    all.mean.compute += parts.compute;
  }
  const auto count = static_cast<double>(all.requests.size());
  for (double* const value : {&all.mean.latency, &all.mean.serialization, &all.mean.held,
                              &all.mean.waking, &all.mean.transit, &all.mean.write, &all.mean.queue,
                              &all.mean.formation, &all.mean.compute}) {
    *value /= count;
  }
  all.mean_request_rows = std::max(rows / count, 1.0);
  all.ideal = TakeQuantile(undisturbed, 0.5);
  all.quick_transit = TakeQuantile(transits, 0.1);
  all.usual_write = TakeQuantile(writes, 0.5);
  all.p99 = all.LatencyP99([](const RequestParts&) { return 0.0; });
}

double OwnWait(const WindowParts& all) {
  const HostWindow& host = all.host;
  const double seconds = all.window.seconds();
  if (all.throttled_gate || all.neighbour_gate || host.requests_per_s <= 0 || seconds <= 0)
    return 0;
  double executions_ns = 0;
  for (const ExecutionRecord& record : all.window.executions_seen) {
    executions_ns += static_cast<double>(std::max<int64_t>(record.run_queue_wait_ns, 0));
  }
  const double around_ns_per_s =
      host.run_queue_wait_cores * 1e9 - executions_ns * all.window.execution_weight / seconds;
  return std::max(around_ns_per_s, 0.0) / host.requests_per_s;
}

// Of the half seconds of the window, the share in which more rows arrive than can be computed.
double BurstShare(const WindowParts& all) {
  const auto bins = static_cast<size_t>((all.window.end_ns - all.window.begin_ns) / kBurstNanos);
  if (bins == 0) return 0;
  std::vector<double> rows(bins), requests(bins);
  for (const RequestRecord& record : all.window.requests) {
    const MonotonicNanos at = record.received_ns - all.window.begin_ns;
    if (at < 0 || at / kBurstNanos >= static_cast<int64_t>(bins)) continue;
    const auto bin = static_cast<size_t>(at / kBurstNanos);
    rows[bin] += std::max(record.rows, 1) * all.window.request_weight;
    requests[bin] += 1;
  }
  const double most = all.capacity_rows_per_s * static_cast<double>(kBurstNanos) * 1e-9 *
                      all.thresholds.burst_saturation;
  size_t over = 0;
  for (size_t bin = 0; bin < bins; ++bin) {
    if (requests[bin] >= kBurstRequests && rows[bin] > most) ++over;
  }
  return static_cast<double>(over) / static_cast<double>(bins);
}

void FindLoad(WindowParts& all) {
  const ModelWindow& window = all.window;
  const double instances = std::max(window.controls.instances, 1);
  all.usable_instances = std::min(instances, std::max(all.host.cpu_budget_cores, 1.0));
  const auto most_rows = static_cast<double>(std::max<int64_t>(window.controls.max_rows, 1));
  // Of whole requests.
  const double max_rows = std::max(std::floor(most_rows / all.mean_request_rows), 1.0) *
                          std::min(all.mean_request_rows, most_rows);
  const double full_ns = all.CleanNanos(max_rows);
  const double seconds = window.seconds();
  if (window.arrived > 0) {
    all.lost_share =
        static_cast<double>(window.refused + window.expired) / static_cast<double>(window.arrived);
  }
  if (full_ns <= 0 || seconds <= 0) return;
  all.capacity_rows_per_s = all.usable_instances * max_rows / full_ns * 1e9;
  all.offered_rows_per_s = static_cast<double>(window.arrived) * all.mean_request_rows / seconds;
  double useful_ns = 0;
  for (const ExecutionRecord& execution : window.executions_seen) {
    useful_ns += all.CleanNanos(std::max(execution.rows, 1));
  }
  const double in_use = useful_ns * window.execution_weight /
                        (all.usable_instances * seconds * 1e9) *
                        std::min(all.mean_batch_rows / max_rows, 1.0);
  all.saturation =
      std::max(all.offered_rows_per_s / all.capacity_rows_per_s, std::min(in_use, 1.0));
  all.burst_share = BurstShare(all);
}

}  // namespace

WindowParts::WindowParts(const ModelWindow& window_in, const HostWindow& host_in,
                         const MachineLimits& limits_in, const ServiceLine& line_in,
                         const JudgeThresholds& thresholds_in)
    : window(window_in),
      host(host_in),
      limits(limits_in),
      known_line(line_in),
      thresholds(thresholds_in) {
  throttled_gate = host.throttled_share >= thresholds.throttled_share ||
                   host.throttled_periods_share >= thresholds.throttled_periods_share;
  const OthersBusy others = OthersOf(host);
  neighbour_gate = others.cores < 0 ||
                   others.cores >= thresholds.neighbour_busy_share * others.of_cores ||
                   host.steal_share >= thresholds.steal_share;
  memory_gate = MemoryStallOf(host).share >= thresholds.memory_psi_share ||
                host.major_faults_per_s >= thresholds.memory_faults_per_s ||
                host.memory_limit_hits_per_s >= thresholds.memory_hits_per_s;
  TakeExecutionsApart(*this);
  TakeRequestsApart(*this);
  own_wait = OwnWait(*this);
  FindLoad(*this);
}

double WindowParts::SlowedOnCpu() const {
  const double rows = mean_batch_rows * padding;
  const double known_ns = (known_line.a_ms + known_line.b_ms * rows) * 1e6;
  if (known_line.samples == 0 || known_ns <= 0) return 1;
  return CleanNanos(rows) / known_ns;
}

bool WindowParts::PagedOut() const {
  const auto cold_ns = static_cast<MonotonicNanos>(thresholds.cold_seconds * 1e9);
  const bool loaded = std::ranges::any_of(window.loads, [&](const ModelLoad& load) {
    return load.warm_ns != 0 ? load.warm_ns > window.begin_ns
                             : load.end_ns > window.end_ns - cold_ns;
  });
  return host.major_faults_per_s >= thresholds.paged_out_faults_per_s && !loaded &&
         !throttled_gate && !WaitsForOthers();
}

bool WindowParts::WhileLoading(MonotonicNanos begin_ns, MonotonicNanos end_ns) const {
  return std::ranges::any_of(window.loads, [&](const ModelLoad& load) {
    return load.begin_ns < end_ns && begin_ns < load.end_ns;
  });
}

bool WindowParts::WhileLoading(const RequestParts& request) const {
  const RequestRecord& record = window.requests[static_cast<size_t>(request.record)];
  const MonotonicNanos sent_ns = record.received_ns - std::max<int64_t>(record.transit_ns, 0);
  return WhileLoading(sent_ns, record.received_ns + record.total_ns);
}

}  // namespace bitmill
