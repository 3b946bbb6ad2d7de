// What is remembered of each request, of each execution and of some turns of the I/O threads, for
// the performance analysis: plain records, written by the thread that finished the work and read
// once by the analysis.
#pragma once

#include <array>
#include <cstdint>

#include "base/clock.h"
#include "server/metrics/stage_times.h"

namespace bitmill {

// Why the batch of a request was closed; the order of batch_policy.h's CloseReason.
enum class BatchClosed : uint8_t { kNever, kFull, kPreferred, kNoDelay, kAge, kDeadline, kFlush };
inline constexpr int kBatchClosedReasons = 7;
inline constexpr std::array<const char*, kBatchClosedReasons> kBatchClosedNames = {
    "never", "full", "preferred", "no_delay", "age", "deadline", "flush"};

// One finished request. Times are nanoseconds.
struct RequestRecord {
  MonotonicNanos received_ns = 0;
  int64_t total_ns = 0;      // from received to the answer handed over; without write_ns
  StageTimes stages = {};    // 0: not reached
  int64_t formation_ns = 0;  // part of the queue stage: an instance was free, the batch waited for
                             // company
  int64_t write_ns = 0;      // from the answer handed over until the transport had taken it
  int64_t transit_ns = -1;   // from sent, by the client's word, to received; -1: not told
  int32_t rows = 0;
  int32_t batch_rows = 0;  // of the execution that it was part of; 0: it was not computed
  uint32_t input_bytes = 0, output_bytes = 0;
  uint32_t model = 0;  // ModelMetrics::id
  uint8_t code = 0;    // canonical status code
  BatchClosed closed = BatchClosed::kNever;
};

// One execution of a batch.
struct ExecutionRecord {
  MonotonicNanos start_ns = 0;
  int64_t compute_ns = 0;
  // What its instance and its thread were kept by as well: gathering before, answering after.
  int64_t around_ns = 0;
  // Of the thread that ran it, during it; -1: not measured (short executions are sampled).
  int64_t cpu_ns = -1;             // on a CPU
  int64_t run_queue_wait_ns = -1;  // ready to run, but not on a CPU
  int32_t major_faults = 0, minor_faults = 0;
  int32_t blocked = 0;  // times that it went to sleep by itself: for a lock, for a disk
  int32_t rows = 0;
  int32_t padded_rows = 0;  // that were computed, at least `rows`
  int32_t requests = 0;
  int32_t instance = 0;
  int32_t worker = -1;  // the thread that ran it (ThisThreadNumber); -1: not known
  uint32_t model = 0;
  BatchClosed closed = BatchClosed::kNever;
  bool inline_run = false;  // on the thread that received a request
  // On an accelerator: from given to its queue until it started; -1: computed by the CPU.
  int64_t device_queue_ns = -1;
};

// One turn of an I/O thread that received requests of one model: from the end of its last turn,
// reading, decoding and submitting them and what it had to send meanwhile, with the execution if
// that ran inline. Some turns leave a record.
struct TurnRecord {
  MonotonicNanos end_ns = 0;
  int64_t cpu_ns = 0;  // of the thread; waiting for something to do is no part of it
  int32_t requests = 0;
  uint32_t model = 0;
};

}  // namespace bitmill
