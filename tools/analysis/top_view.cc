#include "tools/analysis/top_view.h"

#include <algorithm>
#include <array>
#include <cmath>
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
constexpr double kStaleSeconds = 5;

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
       return Cell{m.recoverable_p99_ms > 0 ? Milliseconds(m.recoverable_p99_ms) : "-"};
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

void AppendModels(const Fleet& fleet, const TopLayout& layout, std::vector<std::string>& lines) {
  std::vector<FleetModel> models;
  for (const FleetModel& model : fleet.models) {
    if (layout.model.empty() || model.name == layout.model) models.push_back(model);
  }
  if (models.empty()) {
    lines.push_back(Cut(layout.model.empty()
                            ? "no model is served"
                            : absl::StrCat("no model is called '", Printable(layout.model), "'"),
                        layout.columns == 0 ? std::string::npos : layout.columns));
    return;
  }
  SortModels(layout.order, models);
  const Chosen chosen = ChooseColumns(models, fleet.targets.size() > 1, layout.columns);
  std::string title = Fit("MODEL", chosen.name_width);
  for (const size_t i : chosen.columns) {
    absl::StrAppend(&title, std::string(kGap, ' '),
                    Fit(kColumns[i].title, chosen.widths[i], kColumns[i].align));
  }
  lines.push_back(Toned(title, Tone::kTitle, layout.colours));
  for (const FleetModel& model : models) {
    std::string line = Fit(Printable(model.name), chosen.name_width);
    for (const size_t i : chosen.columns) {
      const Cell cell = kColumns[i].cell(model);
      absl::StrAppend(
          &line, std::string(kGap, ' '),
          Toned(Fit(cell.text, chosen.widths[i], kColumns[i].align), cell.tone, layout.colours));
    }
    lines.push_back(std::move(line));
  }
}

std::string HostText(const pb::Report& report) {
  const pb::Host& host = report.host();
  std::string text = absl::StrFormat("cpu %.2f", host.process_cpu_cores());
  if (report.machine().budget_cores() > 0) {
    absl::StrAppendFormat(&text, " of %.2f cores", report.machine().budget_cores());
  }
  const auto share = [&text](const char* name, double value) {
    if (value >= 0) absl::StrAppend(&text, ", ", name, " ", Percent(value));
  };
  share("throttled", host.throttled_share());
  share("cpu pressure", host.psi_cpu_some());
  share("stolen", host.steal_share());
  absl::StrAppend(&text, ", memory ", Bytes(static_cast<double>(host.resident_bytes())));
  if (host.memory_limit_bytes() > 0) {
    absl::StrAppend(&text, " (limit ", Bytes(static_cast<double>(host.memory_limit_bytes())), ")");
  }
  return text;
}

void AppendServers(const Fleet& fleet, const TopLayout& layout, std::vector<std::string>& lines) {
  const size_t columns = layout.columns == 0 ? std::string::npos : layout.columns;
  for (const TargetReport& target : fleet.targets) {
    const std::string who = Printable(target.address);
    if (target.report == nullptr) {
      const std::string why = target.error.empty() ? "waiting for its first report" : target.error;
      lines.push_back(Toned(Cut(absl::StrCat(who, "  ", Printable(why)), columns),
                            target.error.empty() ? Tone::kQuiet : Tone::kBad, layout.colours));
      continue;
    }
    const bool stale = !target.error.empty() || target.age_seconds > kStaleSeconds;
    const pb::Host& host = target.report->host();
    const pb::Cause cause = host.has_diagnosis() ? host.diagnosis().cause() : pb::UNKNOWN;
    std::string line = absl::StrCat(who, "  ");
    if (stale) {
      absl::StrAppendFormat(&line, "LAST HEARD %.0f s AGO  ", target.age_seconds);
    }
    absl::StrAppend(&line, HostText(*target.report), ", host ", CauseText(cause));
    lines.push_back(Toned(Cut(line, columns), stale ? Tone::kBad : Tone::kPlain, layout.colours));
  }
}

void AppendWarnings(const Fleet& fleet, const TopLayout& layout, std::vector<std::string>& lines) {
  if (fleet.warnings.empty()) return;
  const size_t columns = layout.columns == 0 ? std::string::npos : layout.columns;
  lines.emplace_back();
  for (const FleetWarning& held : fleet.warnings) {
    const pb::Warning& warning = held.warning;
    const std::string what =
        warning.model().empty() ? "host" : absl::StrCat(warning.model(), "/", warning.version());
    const std::string where = fleet.targets.size() > 1 ? absl::StrCat(held.address, " ") : "";
    lines.push_back(Toned(Cut(Printable(absl::StrCat("! ", warning.reason(), "  ", where, what,
                                                     ": ", warning.message())),
                              columns),
                          Tone::kBad, layout.colours));
  }
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

std::vector<std::string> TopLines(const Fleet& fleet, const TopLayout& layout) {
  std::vector<std::string> lines;
  AppendServers(fleet, layout, lines);
  lines.emplace_back();
  AppendModels(fleet, layout, lines);
  AppendWarnings(fleet, layout, lines);
  const size_t kept = layout.message.empty() || layout.rows == 0 ? layout.rows : layout.rows - 1;
  if (layout.rows > 0 && lines.size() > kept) {
    const size_t hidden = lines.size() - kept + (kept > 0 ? 1 : 0);
    lines.resize(kept);
    if (kept > 0) {
      lines.back() = Cut(absl::StrCat("... ", hidden, " more lines"),
                         layout.columns == 0 ? std::string::npos : layout.columns);
    }
  }
  if (!layout.message.empty()) {
    while (layout.rows > 0 && lines.size() < kept) lines.emplace_back();
    const std::string message =
        Cut(layout.message, layout.columns == 0 ? std::string::npos : layout.columns);
    lines.push_back(Toned(message, Tone::kQuiet, layout.colours));
  }
  return lines;
}

}  // namespace bitmill
