#include "server/repository/watch_settings.h"

#include <cmath>
#include <cstdint>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

using ValueOf = std::function<std::string(const char* key)>;

template <typename... Parts>
absl::Status Wrong(const char* key, const std::string& text, const Parts&... expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("parameter '", key, "' is '",
                   EscapeForLog(text.size() > 100 ? text.substr(0, 100) + "..." : text),
                   "', expected ", expected...));
}

absl::Status ReadSwitch(const ValueOf& value_of, const char* key, bool& value) {
  const std::string text = value_of(key);
  if (!text.empty() && text != "on" && text != "off") return Wrong(key, text, "'on' or 'off'");
  value = text == "on";
  return absl::OkStatus();
}

absl::Status ReadTask(const ValueOf& value_of, WatchTask& task) {
  const std::string text = value_of("watch_task");
  if (text.empty() || text == "auto") {
    task = WatchTask::kAuto;
  } else if (text == "classes") {
    task = WatchTask::kClasses;
  } else if (text == "value") {
    task = WatchTask::kValue;
  } else {
    return Wrong("watch_task", text, "'auto', 'classes' or 'value'");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<WatchSettings> ParseWatchSettings(const ValueOf& value_of) {
  WatchSettings settings;
  BITMILL_RETURN_IF_ERROR(ReadSwitch(value_of, "watch", settings.on));
  BITMILL_RETURN_IF_ERROR(ReadSwitch(value_of, "shadow", settings.shadow));
  BITMILL_RETURN_IF_ERROR(ReadSwitch(value_of, "watch_margin", settings.margin));
  BITMILL_RETURN_IF_ERROR(ReadTask(value_of, settings.task));
  int64_t memory_mib = settings.memory_bytes >> 20;
  struct WholeNumber {
    const char* key;
    int64_t* value;
    int64_t least, most;
  };
  const WholeNumber whole_numbers[] = {
      {"watch_memory_mib", &memory_mib, 1, 4096},
      {"watch_reference_rows", &settings.reference_rows, 500, 20'000},
      {"watch_window_rows", &settings.window_rows, 1000, 100'000},
      {"watch_window_labels", &settings.window_labels, 100, 100'000},
      {"promote_min_compared", &settings.guards.min_compared, 1, 1'000'000'000},
      {"promote_min_labels", &settings.guards.min_labels, 1, 1'000'000'000}};
  for (const WholeNumber& number : whole_numbers) {
    const std::string text = value_of(number.key);
    if (text.empty()) continue;
    if (!absl::SimpleAtoi(text, number.value) || *number.value < number.least ||
        *number.value > number.most) {
      return Wrong(number.key, text, number.least, " to ", number.most);
    }
  }
  settings.memory_bytes = memory_mib << 20;
  struct Number {
    const char* key;
    double* value;
    double least, most;
  };
  const Number numbers[] = {
      {"watch_memory_seconds", &settings.memory_seconds, 1, 1e6},
      {"watch_window_seconds", &settings.window_seconds, 1, 1e6},
      {"shadow_share", &settings.shadow_share, 0, 1},
      {"shadow_tolerance", &settings.shadow_tolerance, 0, 1e6},
      {"promote_min_agreement", &settings.guards.min_agreement, 0, 1},
      {"promote_max_accuracy_drop", &settings.guards.max_accuracy_drop, 0, 1},
      {"promote_max_error_share", &settings.guards.max_error_share, 0, 1},
      {"promote_max_latency_ratio", &settings.guards.max_latency_ratio, 0.01, 1e6}};
  for (const Number& number : numbers) {
    const std::string text = value_of(number.key);
    if (text.empty()) continue;
    if (!absl::SimpleAtod(text, number.value) || !(*number.value >= number.least) ||
        !(*number.value <= number.most)) {
      return Wrong(number.key, text, number.least, " to ", number.most);
    }
  }
  return settings;
}

}  // namespace bitmill
