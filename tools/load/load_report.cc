#include "tools/load/load_report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/text/json_writer.h"
#include "tools/text/text_table.h"

namespace bitmill {
namespace {

bool IsOpen(const LoadPoint& point) { return point.rate > 0.0; }

const char* ArrivalName(ArrivalKind kind) {
  return kind == ArrivalKind::kPoisson ? "poisson" : "constant";
}

std::string AccuracyText(const ModelTally& tally) {
  if (tally.labelled_rows == 0) return "-";
  return absl::StrFormat("%.2f %%", 100.0 * static_cast<double>(tally.correct_rows) /
                                        static_cast<double>(tally.labelled_rows));
}

std::string PointsTable(const LoadReport& report) {
  const bool open = IsOpen(report.results.front().point);
  TextTable table({open ? "requests/s sent" : "in flight", "requests/s", "rows/s", "p50", "p90",
                   "p99", "p99.9", "max", "server CPU", "client CPU", "accuracy", "errors"});
  for (const LoadResult& result : report.results) {
    const LatencySummary& latency = result.total.latency;
    const auto time = [&latency](int64_t nanos) {
      return latency.count == 0 ? std::string("-") : Duration(static_cast<double>(nanos));
    };
    table.AddRow(
        {open ? WithCommas(result.point.rate) : absl::StrCat(result.point.concurrency),
         WithCommas(result.requests_per_second), WithCommas(result.rows_per_second),
         time(latency.p50_ns), time(latency.p90_ns), time(latency.p99_ns), time(latency.p999_ns),
         time(latency.max_ns),
         result.server_cpu_us.has_value() ? absl::StrFormat("%.1f us", *result.server_cpu_us) : "-",
         absl::StrFormat("%.1f us", result.client_cpu_us), AccuracyText(result.total),
         WithCommas(static_cast<double>(result.total.error_count()))});
  }
  return table.Text();
}

std::string ModelsTable(const LoadResult& result) {
  TextTable table({"model", "requests", "p50", "p99", "max", "accuracy", "errors"});
  for (const ModelTally& tally : result.models) {
    table.AddRow({tally.name, WithCommas(static_cast<double>(tally.requests)),
                  Duration(static_cast<double>(tally.latency.p50_ns)),
                  Duration(static_cast<double>(tally.latency.p99_ns)),
                  Duration(static_cast<double>(tally.latency.max_ns)), AccuracyText(tally),
                  WithCommas(static_cast<double>(tally.error_count()))});
  }
  return table.Text();
}

void AppendLatency(const LatencySummary& latency, JsonWriter& json) {
  const auto us = [](int64_t nanos) { return static_cast<double>(nanos) / 1e3; };
  json.BeginObject().Key("count").Int(latency.count).Key("mean").Double(latency.mean_ns / 1e3);
  json.Key("min").Double(us(latency.min_ns)).Key("p50").Double(us(latency.p50_ns));
  json.Key("p90").Double(us(latency.p90_ns)).Key("p99").Double(us(latency.p99_ns));
  json.Key("p99_9").Double(us(latency.p999_ns)).Key("max").Double(us(latency.max_ns)).EndObject();
}

void AppendTally(const ModelTally& tally, JsonWriter& json) {
  json.Key("requests").Int(tally.requests).Key("rows").Int(tally.rows);
  json.Key("in_time").Int(tally.in_time);
  json.Key("latency_us");
  AppendLatency(tally.latency, json);
  if (tally.labelled_rows > 0) {
    json.Key("labelled_rows").Int(tally.labelled_rows);
    json.Key("correct_rows").Int(tally.correct_rows);
    json.Key("accuracy")
        .Double(static_cast<double>(tally.correct_rows) / static_cast<double>(tally.labelled_rows));
  }
  json.Key("errors").BeginObject();
  for (const auto& [code, count] : tally.errors) json.Key(code).Int(count);
  json.EndObject();
  if (!tally.first_error.empty()) json.Key("first_error").String(tally.first_error);
}

void AppendResult(const LoadResult& result, JsonWriter& json) {
  json.BeginObject();
  if (IsOpen(result.point)) {
    json.Key("rate").Double(result.point.rate);
    json.Key("arrivals").String(ArrivalName(result.point.arrivals));
    json.Key("max_in_flight").Int(result.point.concurrency);
    json.Key("send_lag_us");
    AppendLatency(result.send_lag, json);
  } else {
    json.Key("concurrency").Int(result.point.concurrency);
  }
  json.Key("seconds").Double(result.seconds);
  json.Key("requests_per_second").Double(result.requests_per_second);
  json.Key("rows_per_second").Double(result.rows_per_second);
  json.Key("client_cpu_us").Double(result.client_cpu_us);
  json.Key("server_cpu_us");
  result.server_cpu_us.has_value() ? json.Double(*result.server_cpu_us) : json.Null();
  json.Key("server_rss_bytes");
  result.server_rss_bytes.has_value() ? json.Int(*result.server_rss_bytes) : json.Null();
  AppendTally(result.total, json);
  json.Key("models").BeginArray();
  for (const ModelTally& tally : result.models) {
    json.BeginObject().Key("name").String(tally.name);
    AppendTally(tally, json);
    json.EndObject();
  }
  json.EndArray().EndObject();
}

}  // namespace

std::string PointName(const LoadPoint& point) {
  return IsOpen(point) ? absl::StrFormat("%s requests/s", WithCommas(point.rate))
                       : absl::StrFormat("%d in flight", point.concurrency);
}

std::string LoadTable(const LoadReport& report) {
  if (report.results.empty()) return "";
  std::string text = PointsTable(report);
  if (report.results.back().server_rss_bytes.has_value()) {
    absl::StrAppend(&text, "server memory ",
                    Bytes(static_cast<double>(*report.results.back().server_rss_bytes)),
                    " resident; CPU is user and system time a request\n");
  }
  for (const LoadResult& result : report.results) {
    if (result.models.size() > 1) {
      absl::StrAppend(&text, "\n", PointName(result.point), ":\n", ModelsTable(result));
    }
    if (report.settings.objective_ms > 0 && result.seconds > 0) {
      absl::StrAppend(&text, "\n", PointName(result.point), ": ",
                      WithCommas(static_cast<double>(result.total.in_time) / result.seconds),
                      " requests/s within ", report.settings.objective_ms, " ms\n");
    }
    if (result.total.error_count() > 0) {
      absl::StrAppend(&text, "\n", PointName(result.point), ", errors:");
      for (const auto& [code, count] : result.total.errors) {
        absl::StrAppend(&text, " ", code, " ", count);
      }
      absl::StrAppend(&text, "\n  first: ", result.total.first_error, "\n");
    }
    // An open loop that sends late measures itself.
    if (result.send_lag.count > 0 && result.send_lag.p99_ns * 2 > result.total.latency.p99_ns) {
      absl::StrAppend(&text, "\n", PointName(result.point), ": sent late (p99 ",
                      Duration(static_cast<double>(result.send_lag.p99_ns)),
                      "), the latencies hold the wait for a free slot or for the client\n");
    }
  }
  return text;
}

std::string LoadJson(const LoadReport& report) {
  const LoadSettings& settings = report.settings;
  JsonWriter json;
  json.BeginObject().Key("server").String(settings.address);
  json.Key("server_pid");
  settings.server.has_value() ? json.Int(settings.server->pid()) : json.Null();
  json.Key("connections").Int(settings.connections).Key("batch").Int(report.batch);
  json.Key("warmup_seconds").Double(settings.warmup_seconds);
  json.Key("duration_seconds").Double(settings.duration_seconds);
  json.Key("seed").Int(static_cast<int64_t>(settings.seed));
  json.Key("results").BeginArray();
  for (const LoadResult& result : report.results) AppendResult(result, json);
  json.EndArray().EndObject();
  return json.text();
}

}  // namespace bitmill
