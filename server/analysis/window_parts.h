// A window taken apart: what each execution and each request spent its time on. Made once, read by
// every cause.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "server/analysis/judge.h"
#include "server/analysis/limit_share.h"
#include "server/analysis/observation.h"
#include "server/analysis/quantile.h"
#include "server/analysis/report.h"

namespace bitmill {

// Nanoseconds of an execution; wall = work + throttled + neighbour + asleep + paging + device +
// unexplained.
struct ExecutionParts {
  double wall = 0;
  double clean = 0;        // what so many rows usually take in this window, undisturbed
  double work = 0;         // on the CPU or the device
  double throttled = 0;    // held back by the CPU quota
  double neighbour = 0;    // ready, but others ran
  double asleep = 0;       // by itself, for a lock
  double paging = 0;       // for a disk
  double device = 0;       // in an accelerator's queue
  double unexplained = 0;  // none of it
  double scale() const { return clean > 0 ? work / clean : 1; }
  double waits() const { return throttled + neighbour + asleep + paging + device + unexplained; }
};

// Nanoseconds of an answered request, as its client sees it: latency = transit + wire + stages
// + write.
struct RequestParts {
  int32_t record = 0;  // index in ModelWindow::requests
  double latency = 0;
  double wire = 0;           // of transit and write, what so many bytes take on any way
  double serialization = 0;  // decode, split, encode and wire, as far as their bytes explain them
  // Of those, assemble and schedule what is above that, and of the waiting for company what is
  // above the delay: waiting for a CPU.
  double held = 0;
  double waking = 0;   // assemble and schedule: mostly waiting for a worker
  double transit = 0;  // 0 where the client did not tell
  double write = 0;
  double queue = 0;      // without formation
  double formation = 0;  // waiting for company with an instance free, as long as the delay says
  double compute = 0;
};

struct WindowParts {
  WindowParts(const ModelWindow& window_in, const HostWindow& host_in,
              const MachineLimits& limits_in, const ServiceLine& line_in,
              const JudgeThresholds& thresholds_in);

  double CleanNanos(double rows) const { return (clean.a_ms + clean.b_ms * rows) * 1e6; }
  // How much longer an undisturbed execution takes than the known line says; 1 without one.
  double SlowedOnCpu() const;
  // The process uses what it may of the CPUs: whatever waits for one waits for the server itself.
  // In the newest two seconds is enough, so that a load which rises is seen before it fills a
  // window.
  bool CpusUsedUp() const {
    return BusiestCores() >= thresholds.worker_busy_share * host.cpu_budget_cores;
  }
  double BusiestCores() const { return std::max(host.process_cpu_cores, host.newest_cpu_cores); }
  // Threads of the server were ready and waited, and others use its CPUs: so do requests that
  // nobody has taken yet.
  bool WaitsForOthers() const {
    return neighbour_gate && (host.run_queue_wait_cores >= thresholds.neighbour_wait_share ||
                              sum.neighbour >= thresholds.neighbour_wait_share * sum.wall);
  }
  // Some threads of the server hardly get a CPU while others do.
  bool SomeThreadsStarve() const {
    return window.controls.instances >= 2 && !throttled_gate && !CpusUsedUp() &&
           host.starved_wait_cores >= thresholds.starved_wait_cores;
  }
  // The server's own code and data are read from a disk, and not because a model was loaded: the
  // threads that take requests wait for that as executions do.
  bool PagedOut() const;
  // Whether a load of the model was going on at any time in between: its work takes CPU time from
  // requests.
  bool WhileLoading(MonotonicNanos begin_ns, MonotonicNanos end_ns) const;
  // From the time that the client sent it until its answer was there.
  bool WhileLoading(const RequestParts& request) const;
  // p99 of the answered requests' latency as their clients see it, less `less(request)`; ns.
  template <typename Less>
  double LatencyP99(Less less) const;

  const ModelWindow& window;
  const HostWindow& host;
  const MachineLimits& limits;
  const ServiceLine& known_line;
  const JudgeThresholds& thresholds;

  std::vector<ExecutionParts> executions;  // in the order of window.executions_seen
  std::vector<RequestParts> requests;
  ServiceLine clean;  // undisturbed, of this window; by rows computed (padded)

  // Sums over executions, ns.
  ExecutionParts sum;
  // Means and quantiles over requests, ns.
  RequestParts mean;
  double p99 = 0, ideal = 0;
  double quick_transit = 0;  // 10th percentile
  double usual_write = 0;    // median
  // Mean over requests of what the server's threads waited for each other on its CPUs, but for
  // executions; 0 where that is not known, a quota holds them back or others use the CPUs.
  double own_wait = 0;
  double mean_request_rows = 1, mean_batch_rows = 1;
  double padding = 1;           // rows computed over rows asked for
  double concurrency = 1;       // executions at a time, while any runs
  double usable_instances = 1;  // that have a CPU each
  double offered_rows_per_s = 0;
  double capacity_rows_per_s = 0;  // undisturbed, without padding, in full batches
  double saturation = 0;           // rows that arrive over that, or the share of it in use
  double burst_share = 0;          // of the half seconds in which more arrives than can be computed
  double lost_share = 0;           // refused or expired, of those that arrived
  bool throttled_gate = false;     // the quota holds the process back at all
  bool neighbour_gate = false;     // others use the machine's CPUs
  bool memory_gate = false;        // memory is short
  LimitShare limit_share;          // of the undisturbed executions
};

template <typename Less>
double WindowParts::LatencyP99(Less less) const {
  std::vector<double> left;
  left.reserve(requests.size());
  for (const RequestParts& request : requests) {
    left.push_back(std::max(request.latency - less(request), 0.0));
  }
  return TakeQuantile(left, 0.99);
}

}  // namespace bitmill
