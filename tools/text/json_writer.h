// Writes JSON text, indented by two spaces; a list of plain values stays on one line.
//
//   JsonWriter json;
//   json.BeginObject().Key("name").String("digits").Key("rows").Int(3).EndObject();
//   json.text();
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace bitmill {

class JsonWriter {
 public:
  JsonWriter& BeginObject() { return Begin('{'); }
  JsonWriter& EndObject() { return End('}'); }
  JsonWriter& BeginArray() { return Begin('['); }
  JsonWriter& EndArray() { return End(']'); }
  JsonWriter& Key(absl::string_view key);
  JsonWriter& String(absl::string_view value);
  JsonWriter& Int(int64_t value);
  // The shortest text that reads back as the same double; null when not finite.
  JsonWriter& Double(double value);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();

  // Complete once every Begin has its End.
  const std::string& text() const { return text_; }

 private:
  JsonWriter& Begin(char bracket);
  JsonWriter& End(char bracket);
  void BeforeValue(bool nested = false);
  void NewLine();

  struct Level {
    bool list = false;
    bool filled = false;  // something stands in it
    bool broken = false;  // its values stand on lines of their own
  };

  std::string text_;
  std::vector<Level> levels_;  // of the open brackets
  bool after_key_ = false;
};

}  // namespace bitmill
