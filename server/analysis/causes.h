// The causes that a model can suffer from, in groups; each looks at its own signals and, where
// those show something, asks the what-if for its score.
#pragma once

#include <string>
#include <vector>

#include "server/analysis/report.h"
#include "server/analysis/what_if.h"
#include "server/analysis/window_parts.h"

namespace bitmill {

struct Candidate {
  Finding finding;
  bool matters = false;  // whatever its score: requests are lost
};

// Overload, batch formation, compute and memory bound, padding.
void FindLoadCauses(const WindowParts& parts, const WhatIf& what_if,
                    std::vector<Candidate>& candidates);
// Throttled, noisy neighbour, lock contention, imbalance, cold start, memory pressure, device
// queue.
void FindDisturbances(const WindowParts& parts, const WhatIf& what_if,
                      std::vector<Candidate>& candidates);
// When executions had become as fast as usual after the last load; 0: not within this window.
MonotonicNanos WarmSince(const WindowParts& parts);
// Serialization, slow client.
void FindEdgeCauses(const WindowParts& parts, std::vector<Candidate>& candidates);

// Without words yet.
Finding FindingOf(Cause cause, double recoverable_p99_ms);
// "41.2 ms", "0.35 ms", "85 us".
std::string TimeText(double ns);
std::string PercentText(double share);

}  // namespace bitmill
