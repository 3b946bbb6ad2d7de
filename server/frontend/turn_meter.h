// Measures some turns of an I/O thread: what CPU time receiving and answering requests costs it. A
// model of microseconds is limited by that, not by what an execution takes.
//
// Two readings of the thread's clock (half a microsecond each) for one turn in 16.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "base/clock.h"
#include "server/engine/engine.h"
#include "server/metrics/request_log.h"

namespace bitmill {

// Of one thread, which alone uses it.
class TurnMeter {
 public:
  // Borrows all; without a log nothing is measured.
  TurnMeter(const Engine& engine, RequestLog* log, const Clock& clock)
      : engine_(engine), log_(log), clock_(clock) {}

  // A turn's requests are about to be submitted: afterwards they may be gone.
  void Submitting(absl::Span<InferTask* const> tasks);
  // They were: the turn is over, the next begins.
  void Submitted();

 private:
  const Engine& engine_;
  RequestLog* const log_;
  const Clock& clock_;
  TurnRecord turn_;           // the one that is measured; no requests: of several models
  int64_t begin_cpu_ns_ = 0;  // of the thread, when it began; 0: it is not measured
  uint32_t turns_ = 0;
};

}  // namespace bitmill
