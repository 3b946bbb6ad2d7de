#include "tools/bench/bench_result.h"

#include <unistd.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "tools/text/json_writer.h"
#include "tools/text/text_table.h"

namespace bitmill {
namespace {

std::string Number(double value) {
  return value >= 1000.0 ? WithCommas(value) : absl::StrFormat("%.4g", value);
}

std::string Percent(double share) { return absl::StrFormat("%.0f %%", 100.0 * share); }

void AddSparse(const SparseResult& result, JsonWriter& json) {
  json.BeginObject().Key("name").String(result.name).Key("kind").String(result.kind);
  json.Key("shape").String(result.shape).Key("isa").String(result.isa);
  json.Key("group_channels").Int(result.group_channels).Key("points").BeginArray();
  for (const SparseResult::Point& point : result.points) {
    json.BeginObject().Key("density").Double(point.density).Key("speed").Double(point.speed);
    json.Key("spread").Double(point.spread).EndObject();
  }
  json.EndArray().Key("break_even").Double(result.break_even);
  json.Key("compiled_below").Double(result.compiled_below).EndObject();
}

// Of each kernel and kind the density below which its best form is faster, on every shape.
std::string BreakEvenLine(const std::vector<SparseResult>& results) {
  std::map<std::string, std::map<std::string, std::map<std::string, double>>> best;
  for (const SparseResult& result : results) {
    double& density =
        best[result.name][std::string(absl::StripPrefix(result.kind, "sparse "))][result.shape];
    density = std::max(density, result.break_even);
  }
  std::string line = "break-even density";
  for (const auto& [name, kinds] : best) {
    absl::StrAppend(&line, name == best.begin()->first ? ": " : "; ", name);
    for (const auto& [kind, shapes] : kinds) {
      double lowest = 1.0;
      for (const auto& [shape, density] : shapes) lowest = std::min(lowest, density);
      absl::StrAppend(&line, kind == kinds.begin()->first ? " " : ", ", kind, " ", Percent(lowest));
    }
  }
  return absl::StrCat(line, "\n");
}

}  // namespace

std::string CeilingsText(const BenchReport& report) {
  std::vector<std::string> header = {"the machine can do"};
  for (const Roofline& roofline : report.ceilings) {
    header.push_back(roofline.threads == 1 ? "one core" : absl::StrCat(roofline.threads, " cores"));
  }
  header.emplace_back();
  TextTable table(header);
  for (const CeilingInfo& info : CeilingInfos()) {
    std::vector<std::string> row = {info.about};
    for (const Roofline& roofline : report.ceilings) {
      row.push_back(absl::StrFormat("%.1f", roofline[info.ceiling] / 1e9));
    }
    row.push_back(absl::StrCat("G", info.unit));
    table.AddRow(row);
  }
  const char* form = report.ceilings[0].bit_form;
  return absl::StrCat(CpuModelName(), ", ", IsaName(report.isa), ", 1 x 1 bit by ",
                      form == nullptr ? "-" : form, "\n", table.Text());
}

std::string ResultsText(const std::vector<BenchResult>& results) {
  TextTable table(
      {"name", "kind", "shape", "batch", "threads", "value", "unit", "ceiling", "share", "spread"});
  for (const BenchResult& result : results) {
    const bool has_ceiling = result.ceiling > 0.0;
    table.AddRow({result.name, result.kind, result.shape, absl::StrCat(result.batch),
                  absl::StrCat(result.threads), Number(result.value), result.unit,
                  has_ceiling ? Number(result.ceiling) : "-",
                  has_ceiling ? Percent(result.share) : "-",
                  result.spread < 0.0 ? "-" : Percent(result.spread)});
  }
  std::string text = table.Text();
  for (const BenchResult& result : results) {
    if (result.steps.empty()) continue;
    TextTable steps(
        {"step", "kernel", "us a row", "of the row", "predicted", "measured / predicted"});
    for (const BenchStep& step : result.steps) {
      steps.AddRow(
          {step.name, step.kernel, absl::StrFormat("%.3f", step.us), Percent(step.share),
           absl::StrFormat("%.3f", step.predicted),
           step.predicted > 0.0 ? absl::StrFormat("%.2f", step.us / step.predicted) : "-"});
    }
    absl::StrAppend(&text, "\n", result.name, ", batch ", result.batch, ":\n", steps.Text());
  }
  return text;
}

std::string SparseText(const std::vector<SparseResult>& results) {
  if (results.empty()) return "";
  std::vector<std::string> header = {"name", "kind", "shape", "outputs"};
  for (const SparseResult::Point& point : results[0].points) {
    header.push_back(absl::StrCat("at ", Percent(point.density)));
  }
  header.insert(header.end(), {"break-even", "compiled below", "spread"});
  TextTable table(header);
  for (const SparseResult& result : results) {
    std::vector<std::string> row = {result.name, result.kind, result.shape,
                                    absl::StrCat(result.group_channels)};
    double spread = 0.0;
    for (const SparseResult::Point& point : result.points) {
      row.push_back(absl::StrFormat("%.2f x", point.speed));
      spread = std::max(spread, point.spread);
    }
    row.insert(row.end(),
               {Percent(result.break_even), Percent(result.compiled_below), Percent(spread)});
    table.AddRow(row);
  }
  return absl::StrCat("Pruned weights, speed of the sparse form (dense is 1) by density:\n",
                      table.Text(), BreakEvenLine(results));
}

std::string BenchJson(const BenchReport& report) {
  JsonWriter json;
  json.BeginObject().Key("machine").BeginObject();
  json.Key("cpu").String(CpuModelName()).Key("isa").String(IsaName(report.isa));
  json.Key("cores").Int(sysconf(_SC_NPROCESSORS_ONLN));
  json.Key("version").String(BITMILL_VERSION).EndObject();
  json.Key("ceilings").BeginObject();
  for (const CeilingInfo& info : CeilingInfos()) {
    json.Key(info.key).Double(report.ceilings[0][info.ceiling]);
  }
  if (const char* form = report.ceilings[0].bit_form) json.Key("bit_form").String(form);
  json.EndObject().Key("results").BeginArray();
  for (const BenchResult& result : report.results) {
    json.BeginObject().Key("name").String(result.name).Key("kind").String(result.kind);
    json.Key("shape").String(result.shape).Key("batch").Int(result.batch);
    json.Key("threads").Int(result.threads).Key("isa").String(result.isa);
    json.Key("value").Double(result.value).Key("unit").String(result.unit);
    if (result.ceiling > 0.0) {
      json.Key("ceiling").Double(result.ceiling).Key("share").Double(result.share);
    } else {
      json.Key("ceiling").Null().Key("share").Null();
    }
    json.Key("spread");
    result.spread < 0.0 ? json.Null() : json.Double(result.spread);
    if (!result.steps.empty()) {
      json.Key("steps").BeginArray();
      for (const BenchStep& step : result.steps) {
        json.BeginObject().Key("name").String(step.name).Key("kernel").String(step.kernel);
        json.Key("us").Double(step.us).Key("share").Double(step.share);
        json.Key("predicted_us").Double(step.predicted).EndObject();
      }
      json.EndArray();
    }
    json.EndObject();
  }
  json.EndArray();
  if (!report.sparse.empty()) {
    json.Key("sparse").BeginArray();
    for (const SparseResult& result : report.sparse) AddSparse(result, json);
    json.EndArray();
  }
  json.EndObject();
  return json.text();
}

}  // namespace bitmill
