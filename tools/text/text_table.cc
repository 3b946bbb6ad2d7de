#include "tools/text/text_table.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/check.h"

namespace bitmill {
namespace {

bool LooksNumeric(const std::string& cell) {
  if (cell.empty() || cell == "-") return true;
  const size_t at = cell[0] == '-' || cell[0] == '+' ? 1 : 0;
  return cell.size() > at && absl::ascii_isdigit(static_cast<unsigned char>(cell[at]));
}

// Of a Markdown table.
std::string JoinCells(const std::vector<std::string>& cells) {
  return absl::StrJoin(cells, " | ", [](std::string* out, const std::string& cell) {
    absl::StrAppend(out, absl::StrReplaceAll(cell, {{"|", "\\|"}}));
  });
}

}  // namespace

void TextTable::AddRow(std::vector<std::string> cells) {
  BITMILL_CHECK(cells.size() == titles_.size());
  rows_.push_back(std::move(cells));
}

std::vector<bool> TextTable::RightAligned() const {
  std::vector<bool> right(titles_.size(), !rows_.empty());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) right[i] = right[i] && LooksNumeric(row[i]);
  }
  return right;
}

std::string TextTable::Text() const {
  std::vector<size_t> widths;
  widths.reserve(titles_.size());
  for (const std::string& title : titles_) widths.push_back(title.size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  const std::vector<bool> right = RightAligned();
  std::string text;
  const auto append = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string blanks(widths[i] - row[i].size(), ' ');
      absl::StrAppend(&line, i == 0 ? "" : "  ", right[i] ? blanks : "", row[i],
                      right[i] ? "" : blanks);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  };
  append(titles_);
  for (const auto& row : rows_) append(row);
  return text;
}

std::string TextTable::Markdown() const {
  const std::vector<bool> right = RightAligned();
  std::string text = absl::StrCat("| ", JoinCells(titles_), " |\n|");
  for (const bool is_right : right) absl::StrAppend(&text, is_right ? " ---: |" : " --- |");
  absl::StrAppend(&text, "\n");
  for (const auto& row : rows_) absl::StrAppend(&text, "| ", JoinCells(row), " |\n");
  return text;
}

std::string WithCommas(double value) {
  const std::string digits = absl::StrFormat("%.0f", std::abs(value));
  std::string text = value < 0.0 && digits != "0" ? "-" : "";
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string Duration(double nanoseconds) {
  if (nanoseconds < 1e4) return absl::StrFormat("%.2f us", nanoseconds / 1e3);
  if (nanoseconds < 1e6) return absl::StrFormat("%.0f us", nanoseconds / 1e3);
  if (nanoseconds < 1e9) return absl::StrFormat("%.2f ms", nanoseconds / 1e6);
  return absl::StrFormat("%.2f s", nanoseconds / 1e9);
}

std::string Bytes(double bytes) {
  if (bytes < 1024.0) return absl::StrFormat("%.0f B", bytes);
  if (bytes < 1024.0 * 1024.0) return absl::StrFormat("%.1f KiB", bytes / 1024.0);
  if (bytes < 1024.0 * 1024.0 * 1024.0) return absl::StrFormat("%.1f MiB", bytes / 1048576.0);
  return absl::StrFormat("%.2f GiB", bytes / 1073741824.0);
}

}  // namespace bitmill
