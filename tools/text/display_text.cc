#include "tools/text/display_text.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "absl/types/span.h"

namespace bitmill {
namespace {

constexpr char32_t kInvalid = 0xFFFD;

struct Range {
  char32_t first, last;
};

// Unicode 15's East Asian Width W and F, by blocks; emoji that terminals draw wide.
constexpr std::array kWide = std::to_array<Range>({{0x1100, 0x115F},
                                                   {0x231A, 0x231B},
                                                   {0x2E80, 0x303E},
                                                   {0x3041, 0xA4CF},
                                                   {0xA960, 0xA97F},
                                                   {0xAC00, 0xD7A3},
                                                   {0xF900, 0xFAFF},
                                                   {0xFE30, 0xFE6F},
                                                   {0xFF01, 0xFF60},
                                                   {0xFFE0, 0xFFE6},
                                                   {0x1F300, 0x1F64F},
                                                   {0x1F680, 0x1F6FF},
                                                   {0x1F900, 0x1FAFF},
                                                   {0x20000, 0x3FFFD}});
constexpr std::array kCombining = std::to_array<Range>({{0x0300, 0x036F},
                                                        {0x0483, 0x0489},
                                                        {0x0591, 0x05BD},
                                                        {0x0610, 0x061A},
                                                        {0x064B, 0x065F},
                                                        {0x0E34, 0x0E3A},
                                                        {0x0E47, 0x0E4E},
                                                        {0x1AB0, 0x1AFF},
                                                        {0x1DC0, 0x1DFF},
                                                        {0x20D0, 0x20FF},
                                                        {0x3099, 0x309A},
                                                        {0xFE00, 0xFE0F},
                                                        {0xFE20, 0xFE2F}});
// Zero-width, direction marks and overrides, isolates, tags, the byte order mark, soft hyphen.
constexpr std::array kInvisible = std::to_array<Range>({{0x00AD, 0x00AD},
                                                        {0x061C, 0x061C},
                                                        {0x180E, 0x180E},
                                                        {0x200B, 0x200F},
                                                        {0x2028, 0x202E},
                                                        {0x2060, 0x206F},
                                                        {0xFEFF, 0xFEFF},
                                                        {0xFFF9, 0xFFFB},
                                                        {0xE0000, 0xE0FFF}});

bool In(absl::Span<const Range> ranges, char32_t c) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [c](const Range& range) { return c >= range.first && c <= range.last; });
}

// Takes the first character off `text`; kInvalid, and one byte, where it is no UTF-8.
char32_t TakeCharacter(absl::string_view& text) {
  const auto byte = [&text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const size_t length = first < 0x80   ? 1
                        : first < 0xC2 ? 0
                        : first < 0xE0 ? 2
                        : first < 0xF0 ? 3
                        : first < 0xF5 ? 4
                                       : 0;
  char32_t c = length == 1 ? first : length == 0 ? 0 : first & (0x7Fu >> length);
  bool valid = length > 0 && length <= text.size();
  for (size_t i = 1; valid && i < length; ++i) {
    valid = (byte(i) & 0xC0) == 0x80;
    c = c << 6 | (byte(i) & 0x3Fu);
  }
  constexpr std::array<char32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};  // no longer than needed
  valid = valid && c >= kLeast[length] && c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);
  text.remove_prefix(valid ? length : 1);
  return valid ? c : kInvalid;
}

size_t WidthOf(char32_t c) { return In(kCombining, c) ? 0 : In(kWide, c) ? 2 : 1; }

}  // namespace

std::string Printable(absl::string_view text) {
  std::string printable;
  while (!text.empty()) {
    const absl::string_view before = text;
    const char32_t c = TakeCharacter(text);
    const absl::string_view bytes = before.substr(0, before.size() - text.size());
    if (c < 0x20 || (c >= 0x7F && c < 0xA0)) {
      printable += '?';
    } else if (c == kInvalid) {
      printable += "\xEF\xBF\xBD";
    } else if (!In(kInvisible, c)) {
      printable.append(bytes.data(), bytes.size());
    }
  }
  return printable;
}

size_t DisplayWidth(absl::string_view text) {
  size_t columns = 0;
  while (!text.empty()) columns += WidthOf(TakeCharacter(text));
  return columns;
}

std::string Cut(absl::string_view text, size_t columns) {
  if (DisplayWidth(text) <= columns) return std::string(text);
  if (columns == 0) return "";
  absl::string_view rest = text;
  size_t used = 0, bytes = 0;
  while (!rest.empty()) {
    const size_t width = WidthOf(TakeCharacter(rest));
    if (used + width > columns - 1) break;
    used += width;
    bytes = text.size() - rest.size();
  }
  return std::string(text.substr(0, bytes)) + '~';
}

std::string Fit(absl::string_view text, size_t columns, Align align) {
  std::string cut = Cut(text, columns);
  const std::string blanks(columns - DisplayWidth(cut), ' ');
  return align == Align::kLeft ? cut + blanks : blanks + cut;
}

}  // namespace bitmill
