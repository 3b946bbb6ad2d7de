#include "tools/bench/bench_result.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/text/json_writer.h"
#include "tools/text/text_table.h"

namespace bitmill {
namespace {

struct Ceiling {
  const char* key;
  const char* about;
  double value;
  const char* unit;
};

std::vector<Ceiling> CeilingsOf(const Roofline& roofline) {
  return {{"bit_macs_per_s", "1 x 1 bit products, best form", roofline.bit_macs_per_s, "MAC/s"},
          {"bit_popcount_macs_per_s", "1 x 1 bit products, popcount",
           roofline.bit_popcount_macs_per_s, "MAC/s"},
          {"low_bit_int8_macs_per_s", "low-bit x int8 products", roofline.low_bit_int8_macs_per_s,
           "MAC/s"},
          {"fp32_macs_per_s", "fp32 products", roofline.fp32_macs_per_s, "MAC/s"},
          {"l1_bytes_per_s", "reads from L1", roofline.l1_bytes_per_s, "B/s"},
          {"l2_bytes_per_s", "reads from L2", roofline.l2_bytes_per_s, "B/s"},
          {"l3_bytes_per_s", "reads from L3", roofline.l3_bytes_per_s, "B/s"},
          {"dram_bytes_per_s", "reads from memory", roofline.dram_bytes_per_s, "B/s"}};
}

std::string Number(double value) {
  return value >= 1000.0 ? WithCommas(value) : absl::StrFormat("%.4g", value);
}

std::string Percent(double share) { return absl::StrFormat("%.0f %%", 100.0 * share); }

}  // namespace

std::string CeilingsText(const BenchReport& report) {
  TextTable table({"one core can do", "", ""});
  for (const Ceiling& ceiling : CeilingsOf(report.ceilings)) {
    table.AddRow({ceiling.about, absl::StrFormat("%.1f", ceiling.value / 1e9),
                  absl::StrCat("G", ceiling.unit)});
  }
  return absl::StrCat(CpuModelName(), ", ", IsaName(report.isa), ", 1 x 1 bit by ",
                      report.ceilings.bit_form == nullptr ? "-" : report.ceilings.bit_form, "\n",
                      table.Text());
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
    TextTable steps({"step", "kernel", "us a row", "of the row"});
    for (const BenchStep& step : result.steps) {
      steps.AddRow({step.name, step.kernel, absl::StrFormat("%.3f", step.us), Percent(step.share)});
    }
    absl::StrAppend(&text, "\n", result.name, ", batch ", result.batch, ":\n", steps.Text());
  }
  return text;
}

std::string BenchJson(const BenchReport& report) {
  JsonWriter json;
  json.BeginObject().Key("machine").BeginObject();
  json.Key("cpu").String(CpuModelName()).Key("isa").String(IsaName(report.isa));
  json.Key("cores").Int(sysconf(_SC_NPROCESSORS_ONLN));
  json.Key("version").String(BITMILL_VERSION).EndObject();
  json.Key("ceilings").BeginObject();
  for (const Ceiling& ceiling : CeilingsOf(report.ceilings)) {
    json.Key(ceiling.key).Double(ceiling.value);
  }
  if (report.ceilings.bit_form != nullptr) json.Key("bit_form").String(report.ceilings.bit_form);
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
        json.Key("us").Double(step.us).Key("share").Double(step.share).EndObject();
      }
      json.EndArray();
    }
    json.EndObject();
  }
  json.EndArray().EndObject();
  return json.text();
}

}  // namespace bitmill
