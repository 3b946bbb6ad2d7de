// What /metrics says about models whose batches are routed between backends,
//
//   bitmill_route_batch_seconds{model,version,backend,rows}   gauge: a batch, measured at the load
//   bitmill_route_predicted_seconds{model,version,backend,rows}  gauge: the same now, with drift
//   bitmill_route_choice_info{model,version,rows,backend,reason} gauge, 1: where such a batch would
//   go now
//   bitmill_route_break_even_rows{model,version,backend}      gauge: from so many rows on faster
//   than the CPU, +Inf: not at all
//   bitmill_route_drift_ratio{model,version,backend}          gauge: time taken of late, over that
//   bitmill_route_backend_failed{model,version,backend}       gauge: 1 once it has failed
//   bitmill_routed_batches_total{model,version,backend,reason}  counter; reasons: RouteReasonName()
//
// and about the parts of models that are divided between executables, all gauges with the labels
// model, version, mode, part, backend:
//
//   bitmill_part_row_macs, bitmill_part_weight_bytes
//   bitmill_part_handed_bytes   of a row, to other parts
//   bitmill_part_rows           of the largest batch
//   bitmill_part_drift_ratio    as above, where rows are divided
#pragma once

#include <vector>

#include "server/metrics/metric_point.h"
#include "server/repository/repository.h"

namespace bitmill {

// Of the versions that are ready now; a version that is loaded again counts from 0. Thread-safe.
std::vector<MetricPoint> RoutingMetrics(const ModelRepository& repository);

}  // namespace bitmill
