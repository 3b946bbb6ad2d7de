#include "tools/compare/comparison_text.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/roofline/roofline.h"
#include "tools/text/display_text.h"
#include "tools/text/text_table.h"

namespace bitmill {
namespace {

std::string Number(double value) {
  if (value >= 1000.0) return WithCommas(value);
  if (value >= 100.0) return absl::StrFormat("%.0f", value);
  return value >= 10.0 ? absl::StrFormat("%.1f", value) : absl::StrFormat("%.2f", value);
}
std::string Ratio(double value) { return absl::StrCat(Number(value), " x"); }
std::string Ratio(const std::optional<double>& value) { return value ? Ratio(*value) : "-"; }
std::string Percent(double share) {
  if (share <= 0.0) return "-";
  return share < 0.1 ? absl::StrFormat("%.1f %%", 100.0 * share)
                     : absl::StrFormat("%.0f %%", 100.0 * share);
}
std::string OrDash(const std::string& text) { return text.empty() ? "-" : Printable(text); }

std::string Energy(const std::optional<PlatformEnergy>& energy) {
  if (!energy || energy->joules_per_row <= 0.0) return "-";
  return absl::StrFormat("%s uJ +- %.0f %% %s", Number(energy->joules_per_row * 1e6),
                         100.0 * energy->uncertainty / energy->joules_per_row, energy->source);
}

class Text {
 public:
  explicit Text(TextForm form) : form_(form) {}

  void Add(const std::string& title, const TextTable& table) {
    const bool markdown = form_ == TextForm::kMarkdown;
    absl::StrAppend(&text_, text_.empty() ? "" : "\n", markdown ? "## " : "", title,
                    markdown ? "\n\n" : "\n", markdown ? table.Markdown() : table.Text());
  }
  void AddNotes(const std::vector<std::string>& notes) {
    if (!notes.empty()) text_ += '\n';
    for (const std::string& note : notes) {
      absl::StrAppend(&text_, form_ == TextForm::kMarkdown ? "- " : "note: ", Printable(note),
                      "\n");
    }
  }
  std::string Take() { return std::move(text_); }

 private:
  const TextForm form_;
  std::string text_;
};

// A column for each platform: what is said of one is long.
TextTable Machines(const Comparison& comparison) {
  std::vector<std::string> titles = {"platform"};
  std::vector<std::vector<std::string>> rows = {{"CPU"},      {"cores"},   {"best ISA"},
                                                {"memory"},   {"system"},  {"kernel"},
                                                {"backends"}, {"program"}, {"date"}};
  for (const ComparedFile& file : comparison.files) {
    titles.push_back(file.label);
    const PlatformMachine& machine = file.report.machine;
    std::string backends;
    for (const std::string& backend : file.report.backends) {
      absl::StrAppend(&backends, backends.empty() ? "" : " ", Printable(backend));
    }
    const std::vector<std::string> cells = {
        OrDash(machine.cpu),
        absl::StrCat(machine.cores),
        Printable(machine.isa_levels.back()),
        machine.memory_bytes ? Bytes(static_cast<double>(*machine.memory_bytes)) : "-",
        OrDash(machine.os),
        OrDash(machine.kernel),
        OrDash(backends),
        OrDash(file.report.program_version),
        OrDash(file.report.date)};
    for (size_t i = 0; i < cells.size(); ++i) rows[i].push_back(cells[i]);
  }
  TextTable table(titles);
  for (std::vector<std::string>& row : rows) table.AddRow(std::move(row));
  return table;
}

// Every platform's ceilings, and how they stand to the first one's.
TextTable Ceilings(const Comparison& comparison) {
  std::vector<std::string> titles = {"the machine can do", "threads"};
  for (const ComparedFile& file : comparison.files) titles.push_back(file.label);
  for (size_t i = 1; i < comparison.files.size(); ++i) {
    titles.push_back(absl::StrCat(comparison.files[i].label, " / ", comparison.files[0].label));
  }
  TextTable table(titles);
  for (const CeilingRow& row : comparison.ceilings) {
    std::string about = Printable(row.key), unit;
    for (const CeilingInfo& info : CeilingInfos()) {
      if (info.key != row.key) continue;
      about = info.about;
      unit = absl::StrCat(" G", info.unit);
    }
    std::vector<std::string> cells = {about, row.threads == 1 ? "1" : "all"};
    for (const std::optional<double>& per_s : row.per_s) {
      cells.push_back(per_s ? absl::StrCat(Number(*per_s / 1e9), unit) : "-");
    }
    for (size_t i = 1; i < row.per_s.size(); ++i) {
      const bool known = row.per_s[i] && row.per_s[0] && *row.per_s[0] > 0.0;
      cells.push_back(known ? Ratio(*row.per_s[i] / *row.per_s[0]) : "-");
    }
    table.AddRow(cells);
  }
  return table;
}

// A column of the cases, with its cells; a `common` one is left out where all its cells are the
// same, as a table of everything is too wide for a terminal.
struct CaseColumn {
  std::string title;
  bool common = false;
  std::vector<std::string> cells = {};
};

std::vector<CaseColumn> CaseColumns(const Comparison& comparison) {
  std::vector<CaseColumn> columns = {
      {"model"},      {"batch"},      {"mode", true},    {"precision", true},
      {"platform"},   {"ISA", true},  {"threads", true}, {"clock", true},
      {"latency us"}, {"p10"},        {"p90"},           {"rows/s"},
      {"speed"},      {"of machine"}, {"relative"},      {"energy a row"}};
  for (const ComparedCase& one : comparison.cases) {
    for (size_t i = 0; i < one.entries.size(); ++i) {
      const CaseEntry& entry = one.entries[i];
      std::string energy = Energy(entry.energy);
      if (i > 0 && entry.energy_ratio) absl::StrAppend(&energy, ", ", Ratio(entry.energy_ratio));
      const std::vector<std::string> cells = {
          Printable(one.model),
          absl::StrCat(one.batch),
          one.mode,
          absl::StrCat(Printable(one.precision), one.tuned ? ", tuned" : ""),
          comparison.files[i].label,
          Printable(entry.isa),
          absl::StrCat(entry.threads),
          one.clock,
          Number(entry.latency.median_us),
          Number(entry.latency.p10_us),
          Number(entry.latency.p90_us),
          WithCommas(entry.rows_per_s),
          Ratio(entry.speed),
          Percent(entry.machine_share),
          Ratio(entry.relative),
          energy};
      for (size_t c = 0; c < cells.size(); ++c) columns[c].cells.push_back(cells[c]);
    }
  }
  return columns;
}

// Takes the columns out in which nothing differs; what they say, in brackets.
std::string TakeCommon(std::vector<CaseColumn>& columns) {
  std::string said;
  std::erase_if(columns, [&said](const CaseColumn& column) {
    const bool same = column.common &&
                      std::all_of(column.cells.begin(), column.cells.end(),
                                  [&column](const auto& cell) { return cell == column.cells[0]; });
    if (same) {
      absl::StrAppend(&said, said.empty() ? " (all: " : ", ", column.title, " ", column.cells[0]);
    }
    return same;
  });
  return said.empty() ? said : absl::StrCat(said, ")");
}

TextTable Cases(const std::vector<CaseColumn>& columns) {
  std::vector<std::string> titles;
  titles.reserve(columns.size());
  for (const CaseColumn& column : columns) titles.push_back(column.title);
  TextTable table(titles);
  for (size_t row = 0; row < columns[0].cells.size(); ++row) {
    std::vector<std::string> cells;
    cells.reserve(columns.size());
    for (const CaseColumn& column : columns) cells.push_back(column.cells[row]);
    table.AddRow(std::move(cells));
  }
  return table;
}

std::string Bar(double part) {
  constexpr double kColumns = 24.0;
  return std::string(static_cast<size_t>(std::lround(std::clamp(part, 0.0, 1.0) * kColumns)), '#');
}

TextTable Ranks(const Comparison& comparison, bool bars) {
  std::vector<std::string> titles = {"platform", "speed", "least", "most", "of its own machine"};
  if (bars) titles.emplace_back("");
  TextTable table(titles);
  for (const PlatformRank& rank : comparison.ranks) {
    std::vector<std::string> cells = {rank.label, Ratio(rank.speed), Ratio(rank.least_speed),
                                      Ratio(rank.most_speed),
                                      Percent(rank.machine_share.value_or(0.0))};
    if (bars) cells.push_back(Bar(rank.speed / comparison.ranks.front().speed));
    table.AddRow(cells);
  }
  return table;
}

TextTable Gains(const Comparison& comparison) {
  TextTable table({"platform", "setting", "from", "to", "speed", "least", "most", "cases"});
  for (const SettingGain& gain : comparison.gains) {
    table.AddRow({gain.label, gain.setting, Printable(gain.from), Printable(gain.to),
                  Ratio(gain.mean), Ratio(gain.least), Ratio(gain.most), absl::StrCat(gain.cases)});
  }
  return table;
}

}  // namespace

std::string ComparisonText(const Comparison& comparison, TextForm form) {
  Text text(form);
  text.Add("Platforms", Machines(comparison));
  if (!comparison.ceilings.empty()) text.Add("Ceilings", Ceilings(comparison));
  if (!comparison.cases.empty()) {
    std::vector<CaseColumn> columns = CaseColumns(comparison);
    const std::string common = TakeCommon(columns);
    text.Add(absl::StrCat("Models", common), Cases(columns));
  }
  if (!comparison.ranks.empty()) {
    text.Add("Which platform (geometric means; speed against the first file)",
             Ranks(comparison, form == TextForm::kTerminal));
  }
  if (!comparison.gains.empty()) {
    text.Add("Which setting pays (rows/s, everything else equal)", Gains(comparison));
  }
  text.AddNotes(comparison.notes);
  return text.Take();
}

}  // namespace bitmill
