#include "server/routing_metrics.h"

#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/batch_router.h"

namespace bitmill {
namespace {

constexpr double kNanosPerSecond = 1e9;

using Labels = std::vector<std::pair<std::string, std::string>>;

// Families, each with its points together.
class RoutingPage {
 public:
  void Add(const ServedModel& model, const RouteReport& report) {
    const RouteTable& cpu = report.backends.front().table;
    for (const RouteReport::Backend& backend : report.backends) {
      const Labels labels = {{"model", model.name},
                             {"version", absl::StrCat(model.version)},
                             {"backend", backend.table.backend}};
      AddTable(labels, backend.table);
      if (&backend != &report.backends.front()) {
        const int64_t rows = BreakEvenRows(cpu, backend.table);
        break_even_.push_back({.name = "bitmill_route_break_even_rows",
                               .help = "Batches of so many rows and more are faster there than on "
                                       "the CPU, measured at the load.",
                               .labels = labels,
                               .value = rows > 0 ? static_cast<double>(rows)
                                                 : std::numeric_limits<double>::infinity()});
      }
      drift_.push_back({.name = "bitmill_route_drift_ratio",
                        .help = "Time of batches of late over the time measured at the load.",
                        .labels = labels,
                        .value = backend.drift});
      failed_.push_back({.name = "bitmill_route_backend_failed",
                         .help = "1 once the backend has failed and gets no more batches.",
                         .labels = labels,
                         .value = backend.failed ? 1.0 : 0.0});
      AddBatches(labels, backend);
    }
  }

  std::vector<MetricPoint> Take() {
    std::vector<MetricPoint> all = std::move(seconds_);
    for (std::vector<MetricPoint>* const points : {&break_even_, &drift_, &failed_, &batches_}) {
      std::move(points->begin(), points->end(), std::back_inserter(all));
    }
    return all;
  }

 private:
  static Labels With(Labels labels, const char* name, std::string value) {
    labels.emplace_back(name, std::move(value));
    return labels;
  }

  void AddTable(const Labels& labels, const RouteTable& table) {
    for (size_t i = 0; i < table.rows.size(); ++i) {
      seconds_.push_back({.name = "bitmill_route_batch_seconds",
                          .help = "Time of a batch, measured at the load.",
                          .labels = With(labels, "rows", absl::StrCat(table.rows[i])),
                          .value = static_cast<double>(table.ns[i]) / kNanosPerSecond});
    }
  }

  void AddBatches(const Labels& labels, const RouteReport::Backend& backend) {
    for (size_t r = 0; r < kRouteReasons; ++r) {
      const char* const reason = RouteReasonName(static_cast<RouteReason>(r));
      batches_.push_back({.name = "bitmill_routed_batches_total",
                          .help = "Batches by the backend that they were sent to, and why.",
                          .type = MetricType::kCounter,
                          .labels = With(labels, "reason", reason),
                          .value = static_cast<double>(backend.batches[r])});
    }
  }

  std::vector<MetricPoint> seconds_, break_even_, drift_, failed_, batches_;
};

}  // namespace

std::vector<MetricPoint> RoutingMetrics(const ModelRepository& repository) {
  RoutingPage page;
  for (const ModelHandle& model : repository.AllReady()) {
    const BatchRouter* const router = model->executable->router();
    if (router != nullptr) page.Add(*model, router->Report());
  }
  return page.Take();
}

}  // namespace bitmill
