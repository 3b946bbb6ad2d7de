#include "server/routing_reports.h"

#include "backends/batch_router.h"
#include "backends/route_table.h"

namespace bitmill {
namespace {

constexpr double kNanosPerMicro = 1e3;

double Micros(int64_t ns) { return static_cast<double>(ns) / kNanosPerMicro; }

RouteBackendReport ToReport(const RouteReport::Backend& backend, const RouteTable& cpu) {
  RouteBackendReport report{.backend = backend.table.backend,
                            .drift = backend.drift,
                            .failed = backend.failed,
                            .batches = BatchesOf(backend),
                            .wait_us = Micros(backend.wait_ns)};
  for (size_t r = 0; r < kRouteReasons; ++r) {
    if (backend.batches[r] == 0) continue;
    report.reasons.emplace_back(RouteReasonName(static_cast<RouteReason>(r)), backend.batches[r]);
  }
  if (&backend.table != &cpu) report.break_even_rows = BreakEvenRows(cpu, backend.table);
  return report;
}

}  // namespace

std::optional<RoutingReport> RoutingOf(const Executable& executable) {
  const BatchRouter* const router = executable.router();
  if (router == nullptr) return std::nullopt;
  const RouteReport routes = router->Report();
  RoutingReport report;
  for (const RouteReport::Backend& backend : routes.backends) {
    report.backends.push_back(ToReport(backend, routes.backends.front().table));
  }
  for (size_t i = 0; i < routes.choices.size(); ++i) {
    const RouteReport::Choice& choice = routes.choices[i];
    RouteSizeReport& size = report.sizes.emplace_back();
    size.rows = choice.rows;
    for (const RouteReport::Backend& backend : routes.backends) {
      size.measured_us.push_back(Micros(backend.table.ns[i]));
      size.predicted_us.push_back(Micros(backend.run_ns[i]));
    }
    size.goes_to = report.backends[choice.backend].backend;
    size.reason = RouteReasonName(choice.reason);
  }
  return report;
}

std::optional<DivisionReport> DivisionOf(const Executable& executable) {
  const ModelDivision division = executable.division();
  if (division.mode.empty()) return std::nullopt;
  DivisionReport report{.mode = division.mode, .parts = {}};
  for (const ModelPart& part : division.parts) {
    report.parts.push_back({.name = part.name,
                            .backend = part.backend,
                            .row_macs = static_cast<double>(part.row_macs),
                            .weight_bytes = part.weight_bytes,
                            .handed_bytes = part.handed_bytes,
                            .rows = part.rows,
                            .drift = part.drift});
  }
  return report;
}

}  // namespace bitmill
