// The table that `bitmill inspect --plan` prints.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "backends/cpu/plan.h"

namespace bitmill {
namespace {

constexpr size_t kMaxNameLength = 32;

using Line = std::vector<std::string>;

// 1234567 -> "1,234,567"; values are not negative.
std::string Grouped(int64_t value) {
  const std::string digits = absl::StrCat(value);
  std::string grouped;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) grouped += ',';
    grouped += digits[i];
  }
  return grouped;
}

std::string OrDash(int64_t value) { return value == 0 ? "-" : Grouped(value); }

std::string Shortened(const std::string& name) {
  if (name.size() <= kMaxNameLength) return name;
  return absl::StrCat("..", absl::string_view(name).substr(name.size() - kMaxNameLength + 2));
}

Line LineOf(size_t number, const StepInfo& info) {
  return {absl::StrCat(number),
          Shortened(info.name),
          info.kernel,
          absl::StrCat(info.input, " -> ", info.output),
          info.bits,
          OrDash(info.weight_bytes),
          OrDash(info.macs),
          OrDash(info.output_bytes),
          info.tuned};
}

// " (steps 1 to 9 in groups of 1, steps 10 to 30 of 8)"; empty where there is one group.
std::string GroupsText(const Plan& plan) {
  if (plan.segments.size() < 2) return "";
  std::string text = " (";
  for (const RowSegment& segment : plan.segments) {
    absl::StrAppend(&text, segment.first == 0 ? "" : ", ", "steps ", segment.first + 1, " to ",
                    segment.end, segment.first == 0 ? " in groups of " : " of ", segment.rows);
  }
  return text + ")";
}

}  // namespace

std::string DescribePlanText(const Plan& plan, const std::string& title) {
  // Columns of text are set to the left, columns of numbers to the right.
  constexpr std::array<bool, 9> kRight = {true, false, false, false, false,
                                          true, true,  true,  false};
  std::vector<Line> lines = {
      {"#", "step", "kernel", "shape", "bits", "weight bytes", "MACs", "output bytes", ""}};
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    lines.push_back(LineOf(i + 1, plan.steps[i]->info()));
    if (!lines.back().back().empty()) lines.front().back() = "tuned: gain, choice";
  }
  std::array<size_t, kRight.size()> widths{};
  for (const Line& line : lines) {
    for (size_t c = 0; c < widths.size(); ++c) widths[c] = std::max(widths[c], line[c].size());
  }
  std::string text = absl::StrCat(title, "\n");
  for (const Line& line : lines) {
    std::string out;
    for (size_t c = 0; c < widths.size(); ++c) {
      const std::string padding(widths[c] - line[c].size(), ' ');
      absl::StrAppend(&out, c == 0 ? "" : "  ", kRight[c] ? padding : "", line[c],
                      kRight[c] ? "" : padding);
    }
    out.erase(out.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, out, "\n");
  }
  absl::StrAppend(&text, "arena ", Grouped(plan.arena_bytes), " bytes for ", plan.chunk_rows,
                  plan.chunk_rows == 1 ? " row" : " rows", " at a time", GroupsText(plan),
                  "; weights ", Grouped(plan.weight_bytes), " bytes; ", Grouped(plan.row_macs),
                  " MACs a row\n");
  return text;
}

}  // namespace bitmill
