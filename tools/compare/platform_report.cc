#include "tools/compare/platform_report.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "tools/text/json_reader.h"
#include "tools/text/json_writer.h"

namespace bitmill {
namespace {

// The members of each object are listed once, for writing and for reading.
template <typename Archive>
void Describe(Archive& members, PlatformMachine& machine) {
  members("cpu", machine.cpu);
  members("cores", machine.cores);
  members("isa_levels", machine.isa_levels);
  members("memory_bytes", machine.memory_bytes);
  members("os", machine.os);
  members("kernel", machine.kernel);
}

template <typename Archive>
void Describe(Archive& members, PlatformCeilings& ceilings) {
  members("isa", ceilings.isa);
  members("threads", ceilings.threads);
  members("per_s", ceilings.per_s);
}

template <typename Archive>
void Describe(Archive& members, PlatformOperation& operation) {
  members("name", operation.name);
  members("kernel", operation.kernel);
  members("us", operation.us);
  members("share", operation.share);
  members("bound", operation.bound);
  members("ceiling", operation.ceiling);
  members("macs", operation.macs);
  members("weight_bytes", operation.weight_bytes);
}

template <typename Archive>
void Describe(Archive& members, PlatformEnergy& energy) {
  members("source", energy.source);
  members("joules_per_row", energy.joules_per_row);
  members("uncertainty", energy.uncertainty);
}

template <typename Archive>
void Describe(Archive& members, PlatformLatency& latency) {
  members("median_us", latency.median_us);
  members("p10_us", latency.p10_us);
  members("p90_us", latency.p90_us);
  members("repetitions", latency.repetitions);
}

template <typename Archive>
void Describe(Archive& members, PlatformRun& run) {
  members("backend", run.backend);
  members("isa", run.isa);
  members("mode", run.mode);
  members("threads", run.threads);
  members("batch", run.batch);
  members("precision", run.precision);
  members("tune_seconds", run.tune_seconds);
  members("clock", run.clock);
  members("latency", run.latency);
  members("rows_per_s", run.rows_per_s);
  members("ceiling_rows_per_s", run.ceiling_rows_per_s);
  members("machine_rows_per_s", run.machine_rows_per_s);
  members("share", run.share);
  members("machine_share", run.machine_share);
  members("weight_bytes", run.weight_bytes);
  members("arena_bytes", run.arena_bytes);
  members("energy", run.energy);
  members("operations", run.operations);
}

template <typename Archive>
void Describe(Archive& members, PlatformModel& model) {
  members("name", model.name);
  members("file_hash", model.file_hash);
  members("file_bytes", model.file_bytes);
  members("row_macs", model.row_macs);
  members("runs", model.runs);
}

template <typename Archive>
void Describe(Archive& members, PlatformReport& report) {
  members("date", report.date);
  members("program_version", report.program_version);
  members("quick", report.quick);
  members("machine", report.machine);
  members("backends", report.backends);
  members("ceilings", report.ceilings);
  members("models", report.models);
}

class Writer {
 public:
  template <typename Value>
  void operator()(const char* name, Value& value) {
    json_.Key(name);
    Write(value);
  }
  std::string Document(PlatformReport& report) {
    json_.BeginObject().Key("format").String(kPlatformFormat);
    json_.Key("version").Int(kPlatformVersion);
    Describe(*this, report);
    json_.EndObject();
    return json_.text();
  }

 private:
  void Write(std::string& value) { json_.String(value); }
  void Write(bool value) { json_.Bool(value); }
  void Write(int64_t value) { json_.Int(value); }
  void Write(double value) { json_.Double(value); }
  void Write(std::map<std::string, double>& values) {
    json_.BeginObject();
    for (const auto& [key, value] : values) json_.Key(key).Double(value);
    json_.EndObject();
  }
  template <typename Value>
  void Write(std::optional<Value>& value) {
    value ? Write(*value) : static_cast<void>(json_.Null());
  }
  template <typename Value>
  void Write(std::vector<Value>& values) {
    json_.BeginArray();
    for (Value& value : values) Write(value);
    json_.EndArray();
  }
  template <typename Object>
  requires std::is_class_v<Object>
  void Write(Object& object) {
    json_.BeginObject();
    Describe(*this, object);
    json_.EndObject();
  }

  JsonWriter json_;
};

absl::Status Wrong(const std::string& place, int line, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(place, ": ", what, " (line ", line, ")"));
}

std::string Member(const std::string& place, const std::string& name) {
  return place.empty() ? name : absl::StrCat(place, ".", name);
}

// Reads the members of one object; stops at the first error, which names its place.
class Reader {
 public:
  Reader(const JsonValue& object, std::string place)
      : object_(object), place_(std::move(place)), used_(object.members.size()) {}

  template <typename Value>
  void operator()(const char* name, Value& value) {
    if (!status_.ok()) return;
    for (size_t i = 0; i < object_.members.size(); ++i) {
      if (object_.members[i].first != name) continue;
      used_[i] = true;
      status_ = Read(object_.members[i].second, Member(place_, name), value);
      return;
    }
    status_ = Wrong(Member(place_, name), object_.line, "it is missing");
  }

  // What was wrong, a member that nobody asked for included.
  absl::Status Finish() const {
    if (!status_.ok()) return status_;
    for (size_t i = 0; i < used_.size(); ++i) {
      if (used_[i]) continue;
      const auto& [name, value] = object_.members[i];
      return Wrong(Member(place_, name), value.line, "this version has no such member");
    }
    return absl::OkStatus();
  }

  template <typename Object>
  requires std::is_class_v<Object>
  static absl::Status Read(const JsonValue& json, const std::string& place, Object& object) {
    BITMILL_RETURN_IF_ERROR(Want(json, JsonValue::Type::kObject, place));
    Reader members(json, place);
    Describe(members, object);
    return members.Finish();
  }
  static absl::Status Read(const JsonValue& json, const std::string& place, std::string& value) {
    BITMILL_RETURN_IF_ERROR(Want(json, JsonValue::Type::kText, place));
    constexpr size_t kMaxText = 1000;
    if (json.text.size() > kMaxText) {
      return Wrong(place, json.line,
                   absl::StrCat("a text of ", json.text.size(), " bytes; at most ", kMaxText));
    }
    value = json.text;
    return absl::OkStatus();
  }
  static absl::Status Read(const JsonValue& json, const std::string& place, bool& value) {
    BITMILL_RETURN_IF_ERROR(Want(json, JsonValue::Type::kBool, place));
    value = json.boolean;
    return absl::OkStatus();
  }
  static absl::Status Read(const JsonValue& json, const std::string& place, double& value) {
    BITMILL_RETURN_IF_ERROR(Want(json, JsonValue::Type::kNumber, place));
    if (json.number < 0.0) {
      return Wrong(place, json.line, absl::StrCat(json.number, " is negative"));
    }
    value = json.number;
    return absl::OkStatus();
  }
  static absl::Status Read(const JsonValue& json, const std::string& place, int64_t& value) {
    double number = 0.0;
    BITMILL_RETURN_IF_ERROR(Read(json, place, number));
    if (number != std::floor(number) || number > 0x1.0p53) {
      return Wrong(place, json.line, absl::StrCat(number, " is no whole number up to 2^53"));
    }
    value = static_cast<int64_t>(number);
    return absl::OkStatus();
  }
  static absl::Status Read(const JsonValue& json, const std::string& place,
                           std::map<std::string, double>& values) {
    BITMILL_RETURN_IF_ERROR(Want(json, JsonValue::Type::kObject, place));
    for (const auto& [key, value] : json.members) {
      BITMILL_RETURN_IF_ERROR(Read(value, Member(place, key), values[key]));
    }
    return absl::OkStatus();
  }
  template <typename Value>
  static absl::Status Read(const JsonValue& json, const std::string& place,
                           std::optional<Value>& value) {
    if (json.type == JsonValue::Type::kNull) return absl::OkStatus();
    return Read(json, place, value.emplace());
  }
  template <typename Value>
  static absl::Status Read(const JsonValue& json, const std::string& place,
                           std::vector<Value>& values) {
    BITMILL_RETURN_IF_ERROR(Want(json, JsonValue::Type::kList, place));
    for (size_t i = 0; i < json.list.size(); ++i) {
      BITMILL_RETURN_IF_ERROR(
          Read(json.list[i], absl::StrCat(place, "[", i, "]"), values.emplace_back()));
    }
    return absl::OkStatus();
  }

 private:
  static absl::Status Want(const JsonValue& json, JsonValue::Type type, const std::string& place) {
    if (json.type == type) return absl::OkStatus();
    return Wrong(
        place, json.line,
        absl::StrCat("expected ", JsonTypeName(type), ", found ", JsonTypeName(json.type)));
  }

  const JsonValue& object_;
  const std::string place_;
  std::vector<bool> used_;
  absl::Status status_;
};

absl::Status OneOf(const std::string& place, const std::string& value,
                   const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(place, ": '", value, "' is none of ", absl::StrJoin(known, ", ")));
}

absl::Status CheckRun(const std::string& place, const PlatformRun& run) {
  BITMILL_RETURN_IF_ERROR(
      OneOf(place + ".mode", run.mode, {"one thread", "side by side", "shared batch"}));
  BITMILL_RETURN_IF_ERROR(OneOf(place + ".clock", run.clock, {"cpu", "wall"}));
  if (run.energy) {
    BITMILL_RETURN_IF_ERROR(OneOf(place + ".energy.source", run.energy->source, {"rapl", "model"}));
  }
  if (run.batch < 1 || run.threads < 1) {
    return absl::InvalidArgumentError(absl::StrCat(place, ": batch and threads are at least 1"));
  }
  if (run.rows_per_s <= 0.0) {
    return absl::InvalidArgumentError(absl::StrCat(place, ".rows_per_s: it is not above 0"));
  }
  const PlatformLatency& latency = run.latency;
  if (latency.p10_us > latency.median_us || latency.median_us > latency.p90_us) {
    return absl::InvalidArgumentError(
        absl::StrCat(place, ".latency: p10, median and p90 are not in order"));
  }
  return absl::OkStatus();
}

absl::Status Check(const PlatformReport& report) {
  if (report.machine.isa_levels.empty()) {
    return absl::InvalidArgumentError("machine.isa_levels: it is empty");
  }
  for (size_t m = 0; m < report.models.size(); ++m) {
    const std::string place = absl::StrCat("models[", m, "]");
    const std::string& hash = report.models[m].file_hash;
    if (hash.size() != 16 || !std::all_of(hash.begin(), hash.end(), [](unsigned char c) {
          return absl::ascii_isxdigit(c);
        })) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ".file_hash: '", hash, "' is no 16 hexadecimal digits"));
    }
    for (size_t other = 0; other < m; ++other) {
      if (report.models[other].name == report.models[m].name) {
        return absl::InvalidArgumentError(
            absl::StrCat(place, ".name: '", report.models[m].name, "' again"));
      }
    }
    for (size_t r = 0; r < report.models[m].runs.size(); ++r) {
      BITMILL_RETURN_IF_ERROR(
          CheckRun(absl::StrCat(place, ".runs[", r, "]"), report.models[m].runs[r]));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string PlatformReportJson(PlatformReport report) { return Writer().Document(report); }

absl::StatusOr<PlatformReport> ParsePlatformReport(absl::string_view json) {
  BITMILL_ASSIGN_OR_RETURN(JsonValue document, ParseJson(json));
  std::string format;
  int64_t version = 0;
  // Taken out first: another version has other members.
  const auto take = [&document](const char* name, auto& value) -> absl::Status {
    auto& members = document.members;
    const auto found = std::find_if(members.begin(), members.end(),
                                    [name](const auto& member) { return member.first == name; });
    if (found == members.end()) return Wrong(name, document.line, "it is missing");
    BITMILL_RETURN_IF_ERROR(Reader::Read(found->second, name, value));
    members.erase(found);
    return absl::OkStatus();
  };
  if (document.type != JsonValue::Type::kObject || !take("format", format).ok() ||
      format != kPlatformFormat) {
    return absl::InvalidArgumentError("this is no report of 'bitmill bench --report'");
  }
  BITMILL_RETURN_IF_ERROR(take("version", version));
  if (version != kPlatformVersion) {
    return absl::UnimplementedError(absl::StrCat("the report has version ", version,
                                                 ", this program reads ", kPlatformVersion));
  }
  PlatformReport report;
  BITMILL_RETURN_IF_ERROR(Reader::Read(document, "", report));
  BITMILL_RETURN_IF_ERROR(Check(report));
  return report;
}

}  // namespace bitmill
