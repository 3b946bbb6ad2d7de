// The numbers of a model's window: rates, quantiles, stages, batches, and whether they agree with
// each other.
#pragma once

#include "server/analysis/observation.h"
#include "server/analysis/report.h"

namespace bitmill {

// Everything of the report but line, forecast and diagnosis. Quantiles are of answered requests, by
// nearest rank. Takes about a millisecond for 10,000 requests.
//
// Self-checks:
//   stage_sum_error = sum |stages of a request - its total| / sum of totals, answered requests
//   little_error    = |L - F * W| / max(L, F * W), L the mean in the system, F the requests
//                     finished a second and W their mean time in it (Little's law). Exact only when
//                     as much waits at the end as at the begin: growing queues show here too.
ModelReport Summarize(const ModelWindow& window, const MachineLimits& limits);

}  // namespace bitmill
