#include "tools/analysis/top_view.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/text/display_text.h"
#include "tools/text/text_table.h"

namespace bitmill {
namespace {

namespace pb = analysis::v1;

constexpr size_t kNameColumns = 40;  // at most, of a terminal of no stated width
constexpr size_t kLeastName = 16;    // columns are left out until a name has so many, or a quarter
constexpr size_t kGap = 2;

enum class Tone { kPlain, kTitle, kGood, kBad, kQuiet };

std::string Toned(absl::string_view text, Tone tone, bool colours) {
  if (!colours || tone == Tone::kPlain) return std::string(text);
  const char* const code = tone == Tone::kTitle  ? "7"
                           : tone == Tone::kGood ? "32"
                           : tone == Tone::kBad  ? "31;1"
                                                 : "2";
  return absl::StrCat("\x1b[", code, "m", text, "\x1b[0m");
}

std::string Rate(double value) {
  return value >= 100 || value == 0 ? WithCommas(value) : absl::StrFormat("%.1f", value);
}

std::string Milliseconds(double ms) {
  if (!std::isfinite(ms)) return "-";
  return ms == 0 ? "0 ms" : Duration(ms * 1e6);
}

std::string Percent(double share) {
  return std::isfinite(share) ? absl::StrFormat("%.0f %%", share * 100) : "-";
}

// "OVERLOAD" as "overload".
std::string CauseText(pb::Cause cause) {
  std::string text = pb::Cause_IsValid(cause) ? absl::AsciiStrToLower(pb::Cause_Name(cause)) : "?";
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

Tone CauseTone(pb::Cause cause) {
  return cause == pb::HEALTHY ? Tone::kGood : cause == pb::UNKNOWN ? Tone::kQuiet : Tone::kBad;
}

struct Cell {
  std::string text;
  Tone tone = Tone::kPlain;
};

struct Column {
  absl::string_view title;
  Align align;
  int importance;  // columns with less are left out first
  Cell (*cell)(const FleetModel& model);
};

// The name comes before these and is always there.
constexpr std::array kColumns = std::to_array<Column>({
    {"VER", Align::kRight, 5, [](const FleetModel& m) { return Cell{absl::StrCat(m.version)}; }},
    {"ON", Align::kRight, 1, [](const FleetModel& m) { return Cell{absl::StrCat(m.servers)}; }},
    {"REQ/S", Align::kRight, 9, [](const FleetModel& m) { return Cell{Rate(m.answered_per_s)}; }},
    {"LOST/S", Align::kRight, 6,
     [](const FleetModel& m) {
       return Cell{Rate(m.lost_per_s), m.lost_per_s > 0 ? Tone::kBad : Tone::kPlain};
     }},
    {"GOOD/S", Align::kRight, 2, [](const FleetModel& m) { return Cell{Rate(m.goodput_per_s)}; }},
    {"P50", Align::kRight, 5, [](const FleetModel& m) { return Cell{Milliseconds(m.p50_ms)}; }},
    {"P99", Align::kRight, 9,
     [](const FleetModel& m) {
       const bool late = m.objective_p99_ms > 0 && m.p99_ms > m.objective_p99_ms;
       return Cell{absl::StrCat(Milliseconds(m.p99_ms), late ? "!" : ""),
                   late ? Tone::kBad : Tone::kPlain};
     }},
    {"BATCH", Align::kRight, 3,
     [](const FleetModel& m) {
       return Cell{std::isfinite(m.mean_batch_rows) ? absl::StrFormat("%.1f", m.mean_batch_rows)
                                                    : "-"};
     }},
    {"QUEUE", Align::kRight, 5,
     [](const FleetModel& m) { return Cell{WithCommas(static_cast<double>(m.queue_depth))}; }},
    {"BUSY", Align::kRight, 2, [](const FleetModel& m) { return Cell{Percent(m.busy_share)}; }},
    {"BOTTLENECK", Align::kLeft, 8,
     [](const FleetModel& m) {
       // Nothing to judge is no doubt.
       if (m.cause == pb::UNKNOWN && m.answered_per_s + m.lost_per_s <= 0) return Cell{"idle"};
       const std::string where =
           m.servers > 1 ? absl::StrCat(" ", m.cause_servers, "/", m.servers) : "";
       return Cell{CauseText(m.cause) + where, CauseTone(m.cause)};
     }},
    {"COSTS", Align::kRight, 4,
     [](const FleetModel& m) {
       if (m.recoverable_p99_ms <= 0) return Cell{"-"};
       const std::string of =
           m.judged_p99_ms > 0 ? absl::StrCat(" of ", Milliseconds(m.judged_p99_ms)) : "";
       return Cell{Milliseconds(m.recoverable_p99_ms) + of};
     }},
    {"HEADROOM", Align::kRight, 7,
     [](const FleetModel& m) {
       const bool about = m.headroom_assumed && std::isfinite(m.headroom);
       return Cell{absl::StrCat(about ? "~" : "", Percent(m.headroom)),
                   m.headroom < 0.05 ? Tone::kBad : Tone::kPlain};
     }},
    {"SATURATES", Align::kRight, 5,
     [](const FleetModel& m) {
       return Cell{UntilText(m.seconds_to_saturation),
                   std::isfinite(m.seconds_to_saturation) ? Tone::kBad : Tone::kPlain};
     }},
});
constexpr absl::string_view kServersTitle = "ON";

// The table's columns that fit, as indices into kColumns, and how wide each is.
struct Chosen {
  std::vector<size_t> columns;
  std::array<size_t, kColumns.size()> widths{};
  size_t name_width = 0;
};

Chosen ChooseColumns(const std::vector<FleetModel>& models, bool several_servers, size_t columns) {
  Chosen chosen;
  size_t total = 0;
  for (size_t i = 0; i < kColumns.size(); ++i) {
    if (!several_servers && kColumns[i].title == kServersTitle) continue;
    chosen.widths[i] = DisplayWidth(kColumns[i].title);
    for (const FleetModel& model : models) {
      chosen.widths[i] = std::max(chosen.widths[i], DisplayWidth(kColumns[i].cell(model).text));
    }
    chosen.columns.push_back(i);
    total += kGap + chosen.widths[i];
  }
  size_t wanted_name = DisplayWidth("MODEL");
  for (const FleetModel& model : models) {
    wanted_name = std::max(wanted_name, DisplayWidth(Printable(model.name)));
  }
  wanted_name = std::min(wanted_name, kNameColumns);
  if (columns == 0) {
    chosen.name_width = wanted_name;
    return chosen;
  }
  const size_t kept_name = std::min(wanted_name, std::max(kLeastName, columns / 4));
  while (!chosen.columns.empty() && total + kept_name > columns) {
    const auto least = std::min_element(
        chosen.columns.begin(), chosen.columns.end(),
        [](size_t a, size_t b) { return kColumns[a].importance < kColumns[b].importance; });
    total -= kGap + chosen.widths[*least];
    chosen.columns.erase(least);
  }
  chosen.name_width = std::min(wanted_name, columns > total ? columns - total : columns);
  return chosen;
}

// What is shown, in its order, before it is cut to the terminal's rows.
struct TopParts {
  std::vector<std::string> servers;
  std::string title;  // of the models' columns; empty where there are none
  std::vector<std::string> models;
  std::vector<std::string> warnings;
};

size_t WidthOf(const TopLayout& layout) {
  return layout.columns == 0 ? std::string::npos : layout.columns;
}

void AddModels(const Fleet& fleet, const TopLayout& layout, TopParts& parts) {
  std::vector<FleetModel> models;
  for (const FleetModel& model : fleet.models) {
    if (layout.model.empty() || model.name == layout.model) models.push_back(model);
  }
  if (models.empty()) {
    parts.models.push_back(Cut(
        layout.model.empty() ? "no model is served"
                             : absl::StrCat("no model is called '", Printable(layout.model), "'"),
        WidthOf(layout)));
    return;
  }
  SortModels(layout.order, models);
  const Chosen chosen = ChooseColumns(models, fleet.targets.size() > 1, layout.columns);
  std::string title = Fit("MODEL", chosen.name_width);
  for (const size_t i : chosen.columns) {
    absl::StrAppend(&title, std::string(kGap, ' '),
                    Fit(kColumns[i].title, chosen.widths[i], kColumns[i].align));
  }
  parts.title = Toned(title, Tone::kTitle, layout.colours);
  for (const FleetModel& model : models) {
    std::string line = Fit(Printable(model.name), chosen.name_width);
    for (const size_t i : chosen.columns) {
      const Cell cell = kColumns[i].cell(model);
      absl::StrAppend(
          &line, std::string(kGap, ' '),
          Toned(Fit(cell.text, chosen.widths[i], kColumns[i].align), cell.tone, layout.colours));
    }
    parts.models.push_back(std::move(line));
  }
}

std::string HostText(const pb::Report& report) {
  const pb::Host& host = report.host();
  const pb::Cause cause = host.has_diagnosis() ? host.diagnosis().cause() : pb::UNKNOWN;
  std::string text =
      absl::StrFormat("host %s, cpu %.2f", CauseText(cause), host.process_cpu_cores());
  if (report.machine().budget_cores() > 0) {
    absl::StrAppendFormat(&text, " of %.2f cores", report.machine().budget_cores());
  }
  absl::StrAppend(&text, ", memory ", Bytes(static_cast<double>(host.resident_bytes())));
  if (host.memory_limit_bytes() > 0) {
    absl::StrAppend(&text, " (limit ", Bytes(static_cast<double>(host.memory_limit_bytes())), ")");
  }
  const auto share = [&text](const char* name, double value) {
    if (value >= 0) absl::StrAppend(&text, ", ", name, " ", Percent(value));
  };
  share("cpu pressure", host.psi_cpu_some());
  share("throttled", host.throttled_share());
  share("stolen", host.steal_share());
  return text;
}

void AddServers(const Fleet& fleet, const TopLayout& layout, TopParts& parts) {
  for (const TargetReport& target : fleet.targets) {
    const std::string who = Printable(target.address);
    if (target.report == nullptr) {
      const bool failed = !target.error.empty();
      // An error names its server itself.
      const std::string line =
          failed ? Printable(target.error) : absl::StrCat(who, "  waiting for its first report");
      parts.servers.push_back(
          Toned(Cut(line, WidthOf(layout)), failed ? Tone::kBad : Tone::kQuiet, layout.colours));
      continue;
    }
    std::string line = absl::StrCat(who, "  ");
    if (target.stale) absl::StrAppendFormat(&line, "LAST HEARD %.0f s AGO  ", target.age_seconds);
    absl::StrAppend(&line, HostText(*target.report));
    parts.servers.push_back(Toned(Cut(line, WidthOf(layout)),
                                  target.stale ? Tone::kBad : Tone::kPlain, layout.colours));
  }
}

void AddWarnings(const Fleet& fleet, const TopLayout& layout, TopParts& parts) {
  for (const FleetWarning& held : fleet.warnings) {
    const pb::Warning& warning = held.warning;
    const std::string what =
        warning.model().empty() ? "host" : absl::StrCat(warning.model(), "/", warning.version());
    const std::string where = fleet.targets.size() > 1 ? absl::StrCat(held.address, " ") : "";
    parts.warnings.push_back(Toned(Cut(Printable(absl::StrCat("! ", warning.reason(), "  ", where,
                                                              what, ": ", warning.message())),
                                       WidthOf(layout)),
                                   Tone::kBad, layout.colours));
  }
}

void Append(std::vector<std::string> more, std::vector<std::string>& lines) {
  lines.insert(lines.end(), std::make_move_iterator(more.begin()),
               std::make_move_iterator(more.end()));
}

// At most `most` > 0 of the lines; the last one then says how many more there are.
void Shorten(size_t most, absl::string_view what, const TopLayout& layout,
             std::vector<std::string>& lines) {
  if (lines.size() <= most) return;
  const std::string rest = most == 1
                               ? absl::StrCat(lines.size(), " ", what)
                               : absl::StrCat("... ", lines.size() - most + 1, " more ", what);
  lines.resize(most);
  lines.back() = Toned(Cut(rest, WidthOf(layout)), Tone::kQuiet, layout.colours);
}

// The models that `left` > 1 rows have room for, from about layout.first_model on, and where that
// is.
void AppendPage(TopParts parts, size_t left, const TopLayout& layout, TopScreen& screen) {
  const size_t all = parts.models.size();
  if (all <= left) {
    Append(std::move(parts.models), screen.lines);
    return;
  }
  screen.page_models = left - 1;
  screen.first_model = std::min(layout.first_model, all - screen.page_models);
  const auto first = parts.models.begin() + static_cast<std::ptrdiff_t>(screen.first_model);
  screen.lines.insert(screen.lines.end(), first,
                      first + static_cast<std::ptrdiff_t>(screen.page_models));
  const std::string where =
      absl::StrCat("models ", screen.first_model + 1, " to ",
                   screen.first_model + screen.page_models, " of ", all, "; arrows scroll");
  screen.lines.push_back(Toned(Cut(where, WidthOf(layout)), Tone::kQuiet, layout.colours));
}

// Servers and warnings keep a quarter of the rows each; the models scroll in the rest.
void Compose(TopParts parts, size_t rows, const TopLayout& layout, TopScreen& screen) {
  const size_t all = parts.servers.size() + parts.models.size() + parts.warnings.size() +
                     (parts.title.empty() ? 1 : 2) + (parts.warnings.empty() ? 0 : 1);
  const bool cut = layout.rows > 0 && all > rows;
  if (cut) {
    const size_t quarter = std::max<size_t>(rows / 4, 1);
    Shorten(quarter, "servers", layout, parts.servers);
    Shorten(quarter, "warnings", layout, parts.warnings);
  }
  constexpr size_t kRowsForGaps = 12;
  const bool gaps = !cut || rows >= kRowsForGaps;
  Append(std::move(parts.servers), screen.lines);
  if (gaps) screen.lines.emplace_back();
  if (!parts.title.empty()) screen.lines.push_back(parts.title);
  std::vector<std::string> warnings = std::move(parts.warnings);
  if (gaps && !warnings.empty()) warnings.insert(warnings.begin(), "");
  const size_t used = screen.lines.size() + warnings.size();
  if (!cut) {
    Append(std::move(parts.models), screen.lines);
  } else if (used + 1 < rows) {
    AppendPage(std::move(parts), rows - used, layout, screen);
  }
  Append(std::move(warnings), screen.lines);
  if (layout.rows > 0 && screen.lines.size() > rows) screen.lines.resize(rows);
}

}  // namespace

absl::string_view OrderName(FleetOrder order) {
  constexpr std::array<absl::string_view, kFleetOrders> kNames = {"name",  "rate",     "p99",
                                                                  "queue", "headroom", "cost"};
  return kNames[static_cast<size_t>(order)];
}

std::string UntilText(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "-";
  if (seconds == 0) return "now";
  return seconds < 90 ? absl::StrFormat("%.0f s", seconds)
                      : absl::StrFormat("%.0f min", seconds / 60);
}

TopScreen DrawTop(const Fleet& fleet, const TopLayout& layout) {
  TopParts parts;
  AddServers(fleet, layout, parts);
  AddModels(fleet, layout, parts);
  AddWarnings(fleet, layout, parts);
  const size_t rows = layout.message.empty() || layout.rows == 0 ? layout.rows : layout.rows - 1;
  TopScreen screen;
  Compose(std::move(parts), rows, layout, screen);
  if (!layout.message.empty()) {
    while (screen.lines.size() < rows) screen.lines.emplace_back();
    screen.lines.push_back(
        Toned(Cut(layout.message, WidthOf(layout)), Tone::kQuiet, layout.colours));
  }
  return screen;
}

std::vector<std::string> TopLines(const Fleet& fleet, const TopLayout& layout) {
  return DrawTop(fleet, layout).lines;
}

}  // namespace bitmill
