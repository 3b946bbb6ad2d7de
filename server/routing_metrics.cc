#include "server/routing_metrics.h"

#include <array>
#include <iterator>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/batch_router.h"
#include "backends/parallel/parallel_options.h"

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
      AddTables(labels, backend);
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
    for (const RouteReport::Choice& choice : report.choices) {
      choices_.push_back({.name = "bitmill_route_choice_info",
                          .help = "1: where a batch of so many rows would go now, and why.",
                          .labels = {{"model", model.name},
                                     {"version", absl::StrCat(model.version)},
                                     {"rows", absl::StrCat(choice.rows)},
                                     {"backend", report.backends[choice.backend].table.backend},
                                     {"reason", RouteReasonName(choice.reason)}},
                          .value = 1.0});
    }
  }

  void Add(const ServedModel& model, const ModelDivision& division) {
    for (const ModelPart& part : division.parts) {
      const Labels labels = {{"model", model.name},
                             {"version", absl::StrCat(model.version)},
                             {"mode", division.mode},
                             {"part", part.name},
                             {"backend", part.backend}};
      const auto add = [&](size_t family, const char* name, const char* help, double value) {
        parts_[family].push_back({.name = name, .help = help, .labels = labels, .value = value});
      };
      add(0, "bitmill_part_row_macs", "Multiply-accumulates of a row in the part of the model.",
          static_cast<double>(part.row_macs));
      add(1, "bitmill_part_weight_bytes", "Packed weights of the part of the model.",
          static_cast<double>(part.weight_bytes));
      add(2, "bitmill_part_handed_bytes", "What the part makes of a row for other parts.",
          static_cast<double>(part.handed_bytes));
      add(3, "bitmill_part_rows", "Rows of the model's largest batch that the part computes.",
          static_cast<double>(part.rows));
      if (division.mode != ParallelModeName(ParallelMode::kData)) continue;
      add(4, "bitmill_part_drift_ratio",
          "Time of the part's rows of late over the time measured at the load.", part.drift);
    }
  }

  std::vector<MetricPoint> Take() {
    std::vector<MetricPoint> all = std::move(seconds_);
    const auto append = [&all](std::vector<MetricPoint>& points) {
      std::move(points.begin(), points.end(), std::back_inserter(all));
    };
    for (auto* const points :
         {&predicted_, &choices_, &break_even_, &drift_, &failed_, &batches_}) {
      append(*points);
    }
    for (std::vector<MetricPoint>& points : parts_) append(points);
    return all;
  }

 private:
  static Labels With(Labels labels, const char* name, std::string value) {
    labels.emplace_back(name, std::move(value));
    return labels;
  }

  void AddTables(const Labels& labels, const RouteReport::Backend& backend) {
    const RouteTable& table = backend.table;
    for (size_t i = 0; i < table.rows.size(); ++i) {
      predicted_.push_back({.name = "bitmill_route_predicted_seconds",
                            .help = "Time of a batch as predicted now, once it is its turn.",
                            .labels = With(labels, "rows", absl::StrCat(table.rows[i])),
                            .value = static_cast<double>(backend.run_ns[i]) / kNanosPerSecond});
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

  std::vector<MetricPoint> seconds_, predicted_, choices_, break_even_, drift_, failed_, batches_;
  std::array<std::vector<MetricPoint>, 5> parts_;
};

}  // namespace

std::vector<MetricPoint> RoutingMetrics(const ModelRepository& repository) {
  RoutingPage page;
  for (const ModelHandle& model : repository.AllReady()) {
    const BatchRouter* const router = model->executable->router();
    if (router != nullptr) page.Add(*model, router->Report());
    page.Add(*model, model->executable->division());
  }
  return page.Take();
}

}  // namespace bitmill
