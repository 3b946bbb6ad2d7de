// Reads JSON text (RFC 8259) that may come from anywhere, strictly: one value and nothing behind
// it, no key twice, no number that a double cannot hold, valid UTF-8, at most 32 levels.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bitmill {

struct JsonValue {
  enum class Type { kNull, kBool, kNumber, kText, kList, kObject };
  Type type = Type::kNull;
  int line = 0;  // where it begins, from 1
  bool boolean = false;
  double number = 0.0;
  std::string text = {};
  std::vector<JsonValue> list = {};
  std::vector<std::pair<std::string, JsonValue>> members = {};  // as in the text
};

// "a number", "an object": for messages.
const char* JsonTypeName(JsonValue::Type type);

// InvalidArgument: "line 3, column 14: expected a value, found '}'".
absl::StatusOr<JsonValue> ParseJson(absl::string_view text);

}  // namespace bitmill
