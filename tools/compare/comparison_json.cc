#include <optional>
#include <string>

#include "kernels/roofline/roofline.h"
#include "tools/compare/comparison_text.h"
#include "tools/text/json_writer.h"

namespace bitmill {
namespace {

void Write(JsonWriter& json, const std::optional<double>& value) {
  value ? json.Double(*value) : json.Null();
}

void WriteFiles(const Comparison& comparison, JsonWriter& json) {
  json.Key("files").BeginArray();
  for (const ComparedFile& file : comparison.files) {
    const PlatformMachine& machine = file.report.machine;
    json.BeginObject().Key("label").String(file.label).Key("cpu").String(machine.cpu);
    json.Key("cores").Int(machine.cores).Key("isa").String(machine.isa_levels.back());
    json.Key("memory_bytes");
    machine.memory_bytes ? json.Int(*machine.memory_bytes) : json.Null();
    json.Key("os").String(machine.os).Key("kernel").String(machine.kernel);
    json.Key("date").String(file.report.date);
    json.Key("program_version").String(file.report.program_version);
    json.Key("quick").Bool(file.report.quick).Key("backends").BeginArray();
    for (const std::string& backend : file.report.backends) json.String(backend);
    json.EndArray().EndObject();
  }
  json.EndArray();
}

void WriteEntry(const CaseEntry& entry, JsonWriter& json) {
  json.BeginObject().Key("backend").String(entry.backend).Key("isa").String(entry.isa);
  json.Key("threads").Int(entry.threads).Key("latency_us").Double(entry.latency.median_us);
  json.Key("p10_us").Double(entry.latency.p10_us).Key("p90_us").Double(entry.latency.p90_us);
  json.Key("rows_per_s").Double(entry.rows_per_s).Key("speed").Double(entry.speed);
  json.Key("share").Double(entry.share).Key("machine_share").Double(entry.machine_share);
  json.Key("relative");
  Write(json, entry.relative);
  json.Key("weight_bytes").Int(entry.weight_bytes).Key("energy");
  if (entry.energy) {
    json.BeginObject().Key("source").String(entry.energy->source);
    json.Key("joules_per_row").Double(entry.energy->joules_per_row);
    json.Key("uncertainty").Double(entry.energy->uncertainty).EndObject();
  } else {
    json.Null();
  }
  json.Key("energy_ratio");
  Write(json, entry.energy_ratio);
  json.Key("operations").BeginArray();
  for (const PlatformOperation& operation : entry.operations) {
    json.BeginObject().Key("name").String(operation.name).Key("kernel").String(operation.kernel);
    json.Key("us").Double(operation.us).Key("share").Double(operation.share);
    json.Key("bound").String(operation.bound).EndObject();
  }
  json.EndArray().EndObject();
}

void WriteCases(const Comparison& comparison, JsonWriter& json) {
  json.Key("cases").BeginArray();
  for (const ComparedCase& one : comparison.cases) {
    json.BeginObject().Key("model").String(one.model).Key("batch").Int(one.batch);
    json.Key("mode").String(one.mode).Key("clock").String(one.clock);
    json.Key("precision").String(one.precision).Key("tuned").Bool(one.tuned);
    json.Key("entries").BeginArray();
    for (const CaseEntry& entry : one.entries) WriteEntry(entry, json);
    json.EndArray().EndObject();
  }
  json.EndArray();
}

}  // namespace

std::string ComparisonJson(const Comparison& comparison) {
  JsonWriter json;
  json.BeginObject();
  WriteFiles(comparison, json);
  json.Key("ceilings").BeginArray();
  for (const CeilingRow& row : comparison.ceilings) {
    std::string about = row.key, unit;
    for (const CeilingInfo& info : CeilingInfos()) {
      if (info.key != row.key) continue;
      about = info.about;
      unit = info.unit;
    }
    json.BeginObject().Key("key").String(row.key).Key("threads").Int(row.threads);
    json.Key("about").String(about).Key("unit").String(unit).Key("per_s").BeginArray();
    for (const std::optional<double>& per_s : row.per_s) Write(json, per_s);
    json.EndArray().EndObject();
  }
  json.EndArray();
  WriteCases(comparison, json);
  json.Key("ranks").BeginArray();
  for (const PlatformRank& rank : comparison.ranks) {
    json.BeginObject().Key("label").String(rank.label).Key("speed").Double(rank.speed);
    json.Key("least").Double(rank.least_speed).Key("most").Double(rank.most_speed);
    json.Key("machine_share");
    Write(json, rank.machine_share);
    json.EndObject();
  }
  json.EndArray().Key("gains").BeginArray();
  for (const SettingGain& gain : comparison.gains) {
    json.BeginObject().Key("label").String(gain.label).Key("setting").String(gain.setting);
    json.Key("from").String(gain.from).Key("to").String(gain.to).Key("mean").Double(gain.mean);
    json.Key("least").Double(gain.least).Key("most").Double(gain.most);
    json.Key("cases").Int(gain.cases).EndObject();
  }
  json.EndArray().Key("notes").BeginArray();
  for (const std::string& note : comparison.notes) json.String(note);
  json.EndArray().EndObject();
  return json.text();
}

}  // namespace bitmill
