// How loaded the server is, for balancers: ORCA load reports (gRPC proposal A51), made of each
// report of the analysis. With them a client that weights its endpoints sends less to a replica
// that is slow, throttled or full.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "grpcpp/server_context.h"
#include "proto/orca_load_report.pb.h"
#include "server/analysis/report.h"
#include "server/frontend/grpc_server.h"
#include "server/frontend/update_stream.h"

namespace bitmill {

inline constexpr char kStreamLoadMethod[] = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";

// cpu_utilization and application_utilization: of the budget of CPUs, and of the capacity of the
// model that is closest to its own (its instances' busy share while the capacity is not known).
// eps: refused, expired and failed. Named metrics: "bitmill.headroom" (the least of the models),
// "bitmill.queue_depth", "bitmill.demand_rows_per_s", "bitmill.capacity_rows_per_s" (sums).
xds::data::orca::v3::OrcaLoadReport MakeLoadReport(const AnalysisReport& report);

// The newest load report. Thread-safe.
class LoadReporter {
 public:
  void Update(const AnalysisReport& report);
  // Serialized; null before the first Update.
  std::shared_ptr<const std::string> Newest() const;

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const std::string> newest_ ABSL_GUARDED_BY(mutex_);
};

// Puts the report into the trailing metadata "endpoint-load-metrics-bin" of an answer: of every
// answer, or of those whose request came with the metadata "endpoint-load-metrics-format: bin".
void AddLoadReport(LoadReports when, const LoadReporter& reporter, grpc::ServerContext& context);

// For one StreamCoreMetrics call. Unimplemented while the analysis is switched off, so that clients
// do not ask again. Intervals below that of the reports count as that.
std::unique_ptr<UpdateSource> CreateLoadUpdates(const FrontendContext& context,
                                                const LoadReporter& reporter);

}  // namespace bitmill
