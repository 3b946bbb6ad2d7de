// One value that the metrics page shows, as plain data: what wants to be shown returns a list of
// these, and the exporter, which knows the formats, writes it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace bitmill {

enum class MetricType : uint8_t {
  kGauge,    // goes up and down
  kCounter,  // only grows while the process lives; its name ends in _total
};

// Points of one name have the same type and label names, and differ in a label's value; the help is
// that of the first. A list holds them one behind the other. Names and label names are
// [a-zA-Z_][a-zA-Z0-9_]*; help and label values are any UTF-8 text, escaped by the exporter.
struct MetricPoint {
  std::string name;  // "bitmill_pressure_share"
  std::string help;  // one sentence, no newline
  MetricType type = MetricType::kGauge;
  std::vector<std::pair<std::string, std::string>> labels = {};  // in the order of being shown
  double value = 0;
};

}  // namespace bitmill
