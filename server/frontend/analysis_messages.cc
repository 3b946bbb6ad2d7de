#include "server/frontend/analysis_messages.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/check.h"
#include "google/protobuf/util/json_util.h"

namespace bitmill {
namespace {

namespace pb = analysis::v1;

static_assert(static_cast<int>(pb::MEMORY_PRESSURE) == static_cast<int>(Cause::kMemoryPressure) &&
              static_cast<int>(pb::DEVICE_QUEUE) == static_cast<int>(Cause::kDeviceQueue) &&
              pb::Cause_ARRAYSIZE == kCauses);

constexpr double kMillisPerNano = 1e-6;

std::string Text(absl::string_view text) { return {text.data(), text.size()}; }

void Fill(const MachineLimits& limits, const HostInfo& host, const HostWindow& window,
          pb::Machine& machine) {
  machine.set_cpu(host.cpu);
  machine.set_isa(host.isa);
  machine.set_budget_cores(window.cpu_budget_cores);
  const std::pair<const char*, double> named[] = {
      {"bit_macs_per_s", limits.bit_macs_per_s},
      {"lowbit_int8_macs_per_s", limits.lowbit_int8_macs_per_s},
      {"fp32_macs_per_s", limits.fp32_macs_per_s},
      {"l1_bytes_per_s", limits.l1_bytes_per_s},
      {"l2_bytes_per_s", limits.l2_bytes_per_s},
      {"l3_bytes_per_s", limits.l3_bytes_per_s},
      {"dram_bytes_per_s", limits.dram_bytes_per_s}};
  for (const auto& [name, value] : named) {
    if (value > 0) (*machine.mutable_limits())[name] = value;
  }
}

void Fill(const HostWindow& window, const Diagnosis& diagnosis, pb::Host& host) {
  host.set_process_cpu_cores(window.process_cpu_cores);
  host.set_machine_busy_cores(window.machine_busy_cores);
  host.set_machine_cores(window.machine_cores);
  host.set_throttled_share(window.throttled_share);
  host.set_run_queue_wait_cores(window.run_queue_wait_cores);
  host.set_steal_share(window.steal_share);
  host.set_psi_cpu_some(window.psi_cpu_some);
  host.set_psi_memory_some(window.psi_memory_some);
  host.set_psi_io_some(window.psi_io_some);
  host.set_major_faults_per_s(window.major_faults_per_s);
  host.set_resident_bytes(window.resident_bytes);
  host.set_memory_limit_bytes(window.memory_limit_bytes);
  host.set_memory_used_bytes(window.memory_used_bytes);
  host.set_open_fds(window.open_fds);
  host.set_max_fds(window.max_fds);
  *host.mutable_diagnosis() = ToProto(diagnosis);
}

void Fill(const Quantiles& quantiles, pb::Quantiles& message) {
  message.set_mean_ms(quantiles.mean_ms);
  message.set_p50_ms(quantiles.p50_ms);
  message.set_p90_ms(quantiles.p90_ms);
  message.set_p99_ms(quantiles.p99_ms);
  message.set_max_ms(quantiles.max_ms);
}

void Fill(const ModelControls& controls, pb::Controls& message) {
  message.set_max_rows(controls.max_rows);
  message.set_max_delay_ms(static_cast<double>(controls.max_delay_ns) * kMillisPerNano);
  message.set_instances(controls.instances);
  message.set_max_queue_requests(controls.max_queue_requests);
  message.set_admit_within_ms(static_cast<double>(controls.admit_within_ns) * kMillisPerNano);
}

void Fill(const ServiceLine& line, const Forecast& forecast, pb::ServiceLine& message) {
  message.set_a_ms(line.a_ms);
  message.set_b_ms(line.b_ms);
  message.set_relative_error(line.relative_error);
  message.set_samples(line.samples);
  message.set_a_drifted(forecast.a_drifted);
  message.set_b_drifted(forecast.b_drifted);
  message.set_split_known(line.split_known);
}

void Fill(const Forecast& forecast, pb::Forecast& message) {
  message.set_demand_rows_per_s(forecast.demand_rows_per_s);
  message.set_demand_ahead_rows_per_s(forecast.demand_ahead_rows_per_s);
  message.set_demand_ahead_low(forecast.demand_ahead_low);
  message.set_demand_ahead_high(forecast.demand_ahead_high);
  message.set_horizon_seconds(forecast.horizon_seconds);
  message.set_capacity_rows_per_s(forecast.capacity_rows_per_s);
  message.set_headroom(forecast.headroom);
  message.set_seconds_to_saturation(forecast.seconds_to_saturation);
  message.set_seconds_to_saturation_low(forecast.seconds_to_saturation_low);
  message.set_seconds_to_saturation_high(forecast.seconds_to_saturation_high);
  message.set_predicted_p99_ms(forecast.predicted_p99_ms);
  message.set_capacity_limit(kCapacityLimitNames[static_cast<size_t>(forecast.capacity_limit)]);
  message.set_receive_ms(forecast.receive_ms);
  message.set_split_known(forecast.split_known);
}

void Fill(const OperationReport& operation, pb::Operation& message) {
  message.set_name(operation.name);
  message.set_kernel(operation.kernel);
  message.set_row_macs(operation.row_macs);
  message.set_row_bytes(operation.row_bytes);
  message.set_weight_bytes(operation.weight_bytes);
  message.set_mean_us(operation.mean_us);
  message.set_mean_rows(operation.mean_rows);
  message.set_time_share(operation.time_share);
  message.set_share_of_limit(operation.share_of_limit);
  message.set_bound(operation.bound);
}

void Fill(const QualityReport& quality, pb::Quality& message) {
  message.set_labels(quality.labels);
  message.set_accuracy(quality.accuracy);
  message.set_macro_precision(quality.macro_precision);
  message.set_macro_recall(quality.macro_recall);
  message.set_macro_f1(quality.macro_f1);
  message.set_calibration_error(quality.calibration_error);
  *message.mutable_classes() = {quality.classes.begin(), quality.classes.end()};
  *message.mutable_confusion() = {quality.confusion.begin(), quality.confusion.end()};
  message.set_input_psi(quality.input_psi);
  message.set_input_ks(quality.input_ks);
  message.set_prediction_psi(quality.prediction_psi);
  message.set_sign_flip_share(quality.sign_flip_share);
  message.set_not_a_number_share(quality.not_a_number_share);
  message.set_out_of_range_share(quality.out_of_range_share);
  message.set_outlier_share(quality.outlier_share);
  message.set_shadow_version(quality.shadow_version);
  message.set_shadow_agreement(quality.shadow_agreement);
  message.set_shadow_compared(quality.shadow_compared);
}

void Fill(const RoutingReport& routing, pb::Routing& message) {
  for (const RouteBackendReport& backend : routing.backends) {
    pb::RouteBackend& one = *message.add_backends();
    one.set_backend(backend.backend);
    one.set_drift(backend.drift);
    one.set_failed(backend.failed);
    one.set_batches(backend.batches);
    for (const auto& [reason, batches] : backend.reasons) {
      (*one.mutable_reasons())[reason] = batches;
    }
    one.set_recent_share(backend.recent_share);
    one.set_wait_us(backend.wait_us);
    one.set_break_even_rows(backend.break_even_rows);
  }
  for (const RouteSizeReport& size : routing.sizes) {
    pb::RouteSize& one = *message.add_sizes();
    one.set_rows(size.rows);
    *one.mutable_measured_us() = {size.measured_us.begin(), size.measured_us.end()};
    *one.mutable_predicted_us() = {size.predicted_us.begin(), size.predicted_us.end()};
    one.set_goes_to(size.goes_to);
    one.set_reason(size.reason);
  }
}

void Fill(const DivisionReport& division, pb::Division& message) {
  message.set_mode(division.mode);
  for (const PartReport& part : division.parts) {
    pb::Part& one = *message.add_parts();
    one.set_name(part.name);
    one.set_backend(part.backend);
    one.set_row_macs(part.row_macs);
    one.set_weight_bytes(part.weight_bytes);
    one.set_handed_bytes(part.handed_bytes);
    one.set_rows(part.rows);
    one.set_drift(part.drift);
  }
}

void AddStage(const char* name, double mean_ms, double p99_ms,
              google::protobuf::RepeatedPtrField<pb::StageTime>& stages) {
  pb::StageTime& stage = *stages.Add();
  stage.set_stage(name);
  stage.set_mean_ms(mean_ms);
  stage.set_p99_ms(p99_ms);
}

void Fill(const HistoryPoint& point, pb::TimelinePoint& message) {
  message.set_unix_millis(point.unix_millis);
  message.set_offered_per_s(point.offered_per_s);
  message.set_answered_per_s(point.answered_per_s);
  message.set_goodput_per_s(point.goodput_per_s);
  message.set_p50_ms(point.p50_ms);
  message.set_p99_ms(point.p99_ms);
  message.set_queue_depth(point.queue_depth);
  message.set_mean_batch_rows(point.mean_batch_rows);
  message.set_busy_share(point.busy_share);
  message.set_demand_rows_per_s(point.demand_rows_per_s);
  message.set_demand_ahead_rows_per_s(point.demand_ahead_rows_per_s);
  message.set_demand_ahead_low(point.demand_ahead_low);
  message.set_demand_ahead_high(point.demand_ahead_high);
  message.set_capacity_rows_per_s(point.capacity_rows_per_s);
  message.set_cause(static_cast<pb::Cause>(point.cause));
  message.set_cause_score_ms(point.cause_score_ms);
}

void Fill(const RequestRecord& record, MonotonicNanos first_ns, pb::RequestTrace& message) {
  const auto millis = [](int64_t ns) { return static_cast<double>(ns) * kMillisPerNano; };
  message.set_start_ms(millis(record.received_ns - first_ns));
  message.set_total_ms(millis(record.total_ns));
  for (size_t i = 0; i < kStages; ++i) {
    AddStage(kStageNames[i], millis(record.stages.ns[i]), 0, *message.mutable_stages());
  }
  AddStage("formation", millis(record.formation_ns), 0, *message.mutable_stages());
  AddStage("write", millis(record.write_ns), 0, *message.mutable_stages());
  message.set_rows(record.rows);
  message.set_batch_rows(record.batch_rows);
  message.set_code(absl::StatusCodeToString(static_cast<absl::StatusCode>(record.code)));
  message.set_batch_closed(kBatchClosedNames[static_cast<size_t>(record.closed)]);
}

std::string Json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  // Fails only for messages of unknown types (Any), of which there are none.
  BITMILL_CHECK(google::protobuf::util::MessageToJsonString(message, &json, options).ok());
  return json;
}

}  // namespace

pb::Warning ToProto(const Warning& warning) {
  pb::Warning message;
  message.set_id(warning.id);
  message.set_reason(kWarningReasonNames[static_cast<size_t>(warning.reason)]);
  message.set_model(warning.model);
  message.set_version(warning.version);
  message.set_raised_unix_ms(warning.raised_unix_ms);
  message.set_cleared_unix_ms(warning.cleared_unix_ms);
  message.set_message(warning.message);
  return message;
}

pb::Adaptation ToProto(const Adaptation& adaptation) {
  const bool is_time =
      adaptation.control == Control::kMaxDelay || adaptation.control == Control::kAdmitWithin;
  const double unit = is_time ? kMillisPerNano : 1;
  pb::Adaptation message;
  message.set_id(adaptation.id);
  message.set_unix_ms(adaptation.unix_ms);
  message.set_model(adaptation.model);
  message.set_version(adaptation.version);
  message.set_control(kControlNames[static_cast<size_t>(adaptation.control)]);
  message.set_from(adaptation.from * unit);
  message.set_to(adaptation.to * unit);
  message.set_reason(adaptation.reason);
  message.set_predicted_goodput_per_s(adaptation.predicted_goodput_per_s);
  message.set_realized_goodput_per_s(adaptation.realized_goodput_per_s);
  message.set_applied(adaptation.applied);
  message.set_rolled_back(adaptation.rolled_back);
  return message;
}

pb::Diagnosis ToProto(const Diagnosis& diagnosis) {
  pb::Diagnosis message;
  message.set_cause(static_cast<pb::Cause>(diagnosis.cause));
  message.set_confidence(diagnosis.confidence);
  message.set_p99_ms(diagnosis.p99_ms);
  for (const Finding& finding : diagnosis.findings) {
    pb::Finding& found = *message.add_findings();
    found.set_cause(static_cast<pb::Cause>(finding.cause));
    found.set_recoverable_p99_ms(finding.recoverable_p99_ms);
    found.set_confidence(finding.confidence);
    found.set_evidence(finding.evidence);
    found.set_advice(finding.advice);
  }
  return message;
}

pb::ModelReport ToProto(const ModelReport& report) {
  pb::ModelReport message;
  message.set_name(report.facts.name);
  message.set_version(report.facts.version);
  message.set_offered_per_s(report.offered_per_s);
  message.set_answered_per_s(report.answered_per_s);
  message.set_refused_per_s(report.refused_per_s);
  message.set_expired_per_s(report.expired_per_s);
  message.set_failed_per_s(report.failed_per_s);
  message.set_rows_per_s(report.rows_per_s);
  message.set_goodput_per_s(report.goodput_per_s);
  Fill(report.latency, *message.mutable_latency());
  for (size_t i = 0; i < kStages; ++i) {
    AddStage(kStageNames[i], report.stage_mean_ms[i], report.stage_p99_ms[i],
             *message.mutable_stages());
  }
  AddStage("formation", report.formation_mean_ms, 0, *message.mutable_stages());
  AddStage("write", report.write_mean_ms, 0, *message.mutable_stages());
  message.set_mean_batch_rows(report.mean_batch_rows);
  message.set_executions_per_s(report.executions_per_s);
  for (size_t i = 0; i < kBatchClosedReasons; ++i) {
    (*message.mutable_batch_closed())[kBatchClosedNames[i]] = report.closed_share[i];
  }
  message.set_busy_share(report.busy_share);
  message.set_share_of_limit(report.share_of_limit);
  message.set_queue_depth(report.queue_depth);
  message.set_in_system(report.in_system);
  message.set_stage_sum_error(report.stage_sum_error);
  message.set_little_error(report.little_error);
  message.set_objective_p99_ms(report.objective.p99_ms);
  Fill(report.controls, *message.mutable_controls());
  Fill(report.line, report.forecast, *message.mutable_line());
  Fill(report.forecast, *message.mutable_forecast());
  *message.mutable_diagnosis() = ToProto(report.diagnosis);
  pb::LatencyHistogram& histogram = *message.mutable_latency_histogram();
  *histogram.mutable_upper_ms() = {report.latency_histogram.upper_ms.begin(),
                                   report.latency_histogram.upper_ms.end()};
  *histogram.mutable_counts() = {report.latency_histogram.counts.begin(),
                                 report.latency_histogram.counts.end()};
  for (const OperationReport& operation : report.operations) {
    Fill(operation, *message.add_operations());
  }
  if (report.quality) Fill(*report.quality, *message.mutable_quality());
  if (report.routing) Fill(*report.routing, *message.mutable_routing());
  if (report.division) Fill(*report.division, *message.mutable_division());
  return message;
}

pb::Report ToProto(const AnalysisReport& report, const HostInfo& host, absl::string_view model) {
  pb::Report message;
  message.set_unix_millis(report.unix_millis);
  message.set_window_seconds(report.window_seconds);
  message.set_server_version(BITMILL_VERSION);
  Fill(report.limits, host, report.host, *message.mutable_machine());
  Fill(report.host, report.host_diagnosis, *message.mutable_host());
  for (const ModelReport& one : report.models) {
    if (model.empty() || one.facts.name == model) *message.add_models() = ToProto(one);
  }
  for (const Warning& warning : report.warnings) {
    if (model.empty() || warning.model.empty() || warning.model == model) {
      *message.add_warnings() = ToProto(warning);
    }
  }
  for (const Adaptation& adaptation : report.adaptations) {
    if (model.empty() || adaptation.model == model) {
      *message.add_adaptations() = ToProto(adaptation);
    }
  }
  message.set_records_dropped(report.records_dropped);
  return message;
}

pb::Timeline ToProto(absl::string_view model, int64_t version,
                     absl::Span<const HistoryPoint> points,
                     absl::Span<const RequestRecord> requests) {
  pb::Timeline message;
  message.set_model(Text(model));
  message.set_version(version);
  for (const HistoryPoint& point : points) Fill(point, *message.add_points());
  std::vector<const RequestRecord*> by_arrival;
  by_arrival.reserve(requests.size());
  for (const RequestRecord& record : requests) by_arrival.push_back(&record);
  std::ranges::stable_sort(by_arrival, {}, &RequestRecord::received_ns);
  for (const RequestRecord* const record : by_arrival) {
    Fill(*record, by_arrival.front()->received_ns, *message.add_requests());
  }
  return message;
}

std::string ReportJson(const AnalysisReport& report, const HostInfo& host,
                       absl::string_view model) {
  return Json(ToProto(report, host, model));
}

std::string TimelineJson(absl::string_view model, int64_t version,
                         absl::Span<const HistoryPoint> points,
                         absl::Span<const RequestRecord> requests) {
  return Json(ToProto(model, version, points, requests));
}

}  // namespace bitmill
