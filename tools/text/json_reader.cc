#include "tools/text/json_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int kMaxDepth = 32;

void AppendUtf8(uint32_t code, std::string& out) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

// Bytes of the character that begins `text`; 0 when it is no UTF-8.
size_t Utf8Length(absl::string_view text) {
  const auto byte = [&text](size_t i) -> uint32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const uint32_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  uint32_t code = first & (0x7FU >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return 0;
    code = (code << 6) | (byte(i) & 0x3FU);
  }
  const uint32_t least = length == 2 ? 0x80U : length == 3 ? 0x800U : 0x10000U;
  const bool surrogate = code >= 0xD800 && code < 0xE000;
  return code >= least && code <= 0x10FFFF && !surrogate ? length : 0;
}

class Parser {
 public:
  explicit Parser(absl::string_view text) : text_(text) {}

  absl::StatusOr<JsonValue> Document() {
    JsonValue value;
    BITMILL_RETURN_IF_ERROR(Value(0, value));
    SkipBlanks();
    if (at_ < text_.size()) return Expected("the end of the file");
    return value;
  }

 private:
  absl::Status Error(size_t at, const std::string& what) const {
    const absl::string_view before = text_.substr(0, at);
    const size_t line_start =
        before.rfind('\n') == absl::string_view::npos ? 0 : before.rfind('\n') + 1;
    const auto lines = std::count(before.begin(), before.end(), '\n');
    return absl::InvalidArgumentError(
        absl::StrCat("line ", lines + 1, ", column ", at - line_start + 1, ": ", what));
  }
  absl::Status Expected(absl::string_view what) const {
    std::string found = "the end of the file";
    if (at_ < text_.size()) {
      const char c = text_[at_];
      found = absl::ascii_isprint(static_cast<unsigned char>(c))
                  ? absl::StrCat("'", std::string(1, c), "'")
                  : absl::StrFormat("byte 0x%02x", static_cast<unsigned>(c) & 0xFFU);
    }
    return Error(at_, absl::StrCat("expected ", what, ", found ", found));
  }

  void SkipBlanks() {
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '\n') {
        ++line_;
      } else if (c != ' ' && c != '\t' && c != '\r') {
        return;
      }
    }
  }
  bool Take(char c) {
    SkipBlanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool TakeWord(absl::string_view word) {
    if (!absl::StartsWith(text_.substr(at_), word)) return false;
    at_ += word.size();
    return true;
  }

  absl::Status Value(int depth, JsonValue& value) {
    SkipBlanks();
    value.line = line_;
    if (depth > kMaxDepth) {
      return Error(at_, absl::StrCat("more than ", kMaxDepth, " levels"));
    }
    using Type = JsonValue::Type;
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    if (c == '{') {
      value.type = Type::kObject;
      return Object(depth, value);
    }
    if (c == '[') {
      value.type = Type::kList;
      return List(depth, value);
    }
    if (c == '"') {
      value.type = Type::kText;
      return Text(value.text);
    }
    if (c == '-' || absl::ascii_isdigit(static_cast<unsigned char>(c))) {
      value.type = Type::kNumber;
      return Number(value.number);
    }
    if (TakeWord("null")) return absl::OkStatus();
    value.type = Type::kBool;
    if (TakeWord("false")) return absl::OkStatus();
    value.boolean = TakeWord("true");
    return value.boolean ? absl::OkStatus() : Expected("a value");
  }

  absl::Status Object(int depth, JsonValue& value) {
    ++at_;
    if (Take('}')) return absl::OkStatus();
    do {
      SkipBlanks();
      const size_t start = at_;
      if (start >= text_.size() || text_[start] != '"') return Expected("a key");
      std::string key;
      BITMILL_RETURN_IF_ERROR(Text(key));
      for (const auto& member : value.members) {
        if (member.first == key) return Error(start, absl::StrCat("key \"", key, "\" again"));
      }
      if (!Take(':')) return Expected("':'");
      value.members.emplace_back(std::move(key), JsonValue());
      BITMILL_RETURN_IF_ERROR(Value(depth + 1, value.members.back().second));
    } while (Take(','));
    return Take('}') ? absl::OkStatus() : Expected("',' or '}'");
  }

  absl::Status List(int depth, JsonValue& value) {
    ++at_;
    if (Take(']')) return absl::OkStatus();
    do {
      BITMILL_RETURN_IF_ERROR(Value(depth + 1, value.list.emplace_back()));
    } while (Take(','));
    return Take(']') ? absl::OkStatus() : Expected("',' or ']'");
  }

  // Whether digits stand here; they are passed over.
  bool Digits() {
    const size_t start = at_;
    while (at_ < text_.size() && absl::ascii_isdigit(static_cast<unsigned char>(text_[at_]))) ++at_;
    return at_ > start;
  }
  absl::Status Number(double& number) {
    const size_t start = at_;
    TakeWord("-");
    if (!TakeWord("0") && !Digits()) return Expected("a digit");
    if (TakeWord(".") && !Digits()) return Expected("a digit");
    if (TakeWord("e") || TakeWord("E")) {
      if (!TakeWord("+")) TakeWord("-");
      if (!Digits()) return Expected("a digit");
    }
    const absl::string_view digits = text_.substr(start, at_ - start);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || !std::isfinite(number)) {
      return Error(start, "a number that is too large or too small");
    }
    return absl::OkStatus();
  }

  absl::Status Text(std::string& out) {
    ++at_;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (static_cast<unsigned char>(text_[at_]) < 0x20) return Expected("the end of the text");
      if (text_[at_] == '\\') {
        BITMILL_RETURN_IF_ERROR(Escape(out));
        continue;
      }
      const size_t length = Utf8Length(text_.substr(at_));
      if (length == 0) return Error(at_, "a text that is no UTF-8");
      out.append(text_.data() + at_, length);
      at_ += length;
    }
    if (at_ >= text_.size()) return Expected("'\"'");
    ++at_;
    return absl::OkStatus();
  }

  absl::Status Escape(std::string& out) {
    constexpr absl::string_view kLetters = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
    const size_t start = at_++;
    const char letter = at_ < text_.size() ? text_[at_] : '\0';
    const size_t known = kLetters.find(letter);
    if (letter != '\0' && known != absl::string_view::npos) {
      out += kMeant[known];
      ++at_;
      return absl::OkStatus();
    }
    uint32_t code = 0;
    if (!HexCode(code)) return Error(start, "an unknown escape");
    if (code >= 0xD800 && code < 0xDC00) {
      uint32_t low = 0;
      if (!TakeWord("\\") || !HexCode(low) || low < 0xDC00 || low >= 0xE000) {
        return Error(start, "half a surrogate pair");
      }
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code < 0xE000) {
      return Error(start, "half a surrogate pair");
    }
    AppendUtf8(code, out);
    return absl::OkStatus();
  }
  // "u20ac".
  bool HexCode(uint32_t& code) {
    if (text_.size() - at_ < 5 || text_[at_] != 'u') return false;
    const char* const begin = text_.data() + at_ + 1;
    const auto [end, error] = std::from_chars(begin, begin + 4, code, 16);
    if (error != std::errc() || end != begin + 4 || *begin == '-') return false;
    at_ += 5;
    return true;
  }

  const absl::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
};

}  // namespace

const char* JsonTypeName(JsonValue::Type type) {
  switch (type) {
    case JsonValue::Type::kNull:
      return "null";
    case JsonValue::Type::kBool:
      return "true or false";
    case JsonValue::Type::kNumber:
      return "a number";
    case JsonValue::Type::kText:
      return "a text";
    case JsonValue::Type::kList:
      return "a list";
    case JsonValue::Type::kObject:
      return "an object";
  }
  return "";
}

absl::StatusOr<JsonValue> ParseJson(absl::string_view text) { return Parser(text).Document(); }

}  // namespace bitmill
