#include "tools/cmd_top.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <memory>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "tools/address_option.h"
#include "tools/analysis/analysis_client.h"
#include "tools/analysis/fleet.h"
#include "tools/analysis/terminal.h"
#include "tools/analysis/top_view.h"
#include "tools/cli.h"

namespace bitmill {
namespace {

FleetOrder OrderOf(const std::string& name) {
  for (int i = 0; i < kFleetOrders; ++i) {
    if (OrderName(static_cast<FleetOrder>(i)) == name) return static_cast<FleetOrder>(i);
  }
  return FleetOrder::kRate;
}

// What the keys have changed.
struct Choices {
  FleetOrder order = FleetOrder::kRate;
  size_t first_model = 0;  // that is shown
  bool paused = false;
  bool quit = false;
};

// True for a key that scrolls. Past the end is no place: the screen says where it came to be.
bool Scroll(int key, size_t page, Choices& choices) {
  constexpr size_t kFar = std::numeric_limits<size_t>::max();
  const auto back = [&choices](size_t models) {
    choices.first_model -= std::min(choices.first_model, models);
  };
  switch (key) {
    case 'k':
    case Terminal::kUp:
      back(1);
      return true;
    case 'j':
    case Terminal::kDown:
      choices.first_model += 1;
      return true;
    case Terminal::kPageUp:
      back(page);
      return true;
    case Terminal::kPageDown:
      choices.first_model += page;
      return true;
    case Terminal::kHome:
      choices.first_model = 0;
      return true;
    case Terminal::kLast:
      choices.first_model = kFar;
      return true;
    default:
      return false;
  }
}

void Press(int key, Choices& choices) {
  switch (key) {
    case Terminal::kEnd:
    case 'q':
      choices.quit = true;
      break;
    case ' ':
      choices.paused = !choices.paused;
      break;
    case 's':
      choices.order = static_cast<FleetOrder>((static_cast<int>(choices.order) + 1) % kFleetOrders);
      break;
    case 'n':
      choices.order = FleetOrder::kName;
      break;
    case 'r':
      choices.order = FleetOrder::kRate;
      break;
    case 'p':
      choices.order = FleetOrder::kP99;
      break;
    case 'u':
      choices.order = FleetOrder::kQueue;
      break;
    case 'h':
      choices.order = FleetOrder::kHeadroom;
      break;
    case 'c':
      choices.order = FleetOrder::kCost;
      break;
    default:
      break;
  }
}

int Once(const TopOptions& options) {
  std::vector<TargetReport> targets;
  bool all = true;
  for (const std::string& address : options.targets) {
    absl::StatusOr<analysis::v1::Report> report =
        AskReport(address, absl::Seconds(options.timeout_seconds));
    TargetReport target;
    target.address = address;
    if (report.ok()) {
      target.report = std::make_shared<analysis::v1::Report>(*std::move(report));
    } else {
      target.error = std::string(report.status().message());
      PrintError(target.error, "");
      all = false;
    }
    targets.push_back(std::move(target));
  }
  TopLayout layout;
  layout.order = OrderOf(options.sort);
  layout.model = options.model;
  for (const std::string& line : TopLines(MergeReports(targets), layout)) {
    std::printf("%s\n", line.c_str());
  }
  return all ? kExitOk : kExitFailure;
}

// The last line: the most that fits.
std::string KeysLine(const Choices& choices, size_t columns) {
  const std::string state =
      absl::StrCat(absl::FormatTime("%H:%M:%S", absl::Now(), absl::LocalTimeZone()),
                   choices.paused ? "  PAUSED" : "", "  by ", OrderName(choices.order));
  std::string whole = absl::StrCat(
      state,
      "  |  q quit  space pause  sort: n name  r rate  p p99  u queue  h headroom  c cost  s next");
  if (whole.size() <= columns) return whole;
  return absl::StrCat(state, "  |  q quit  space pause  sort: n r p u h c, s next");
}

absl::Status Follow(const TopOptions& options) {
  BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<Terminal> terminal, Terminal::Open());
  const absl::Duration interval = absl::Seconds(options.interval_seconds);
  std::vector<std::unique_ptr<ReportWatcher>> watchers;
  watchers.reserve(options.targets.size());
  for (const std::string& address : options.targets) {
    watchers.push_back(std::make_unique<ReportWatcher>(address, interval));
  }
  Choices choices{OrderOf(options.sort)};
  Fleet fleet;
  // Looks often at first, until each server has answered; a key redraws at once.
  while (!choices.quit) {
    if (!choices.paused) {
      std::vector<TargetReport> targets;
      targets.reserve(watchers.size());
      for (const auto& watcher : watchers) targets.push_back(watcher->Newest());
      fleet = MergeReports(targets);
    }
    const ScreenSize size = terminal->size();
    TopLayout layout;
    layout.columns = size.columns;
    layout.rows = size.rows;
    layout.colours = IsRichTerminal(stdout);
    layout.order = choices.order;
    layout.model = options.model;
    layout.message = KeysLine(choices, size.columns);
    layout.first_model = choices.first_model;
    const TopScreen screen = DrawTop(fleet, layout);
    terminal->Show(screen.lines);
    choices.first_model = screen.first_model;
    bool waiting = false;
    for (const TargetReport& target : fleet.targets) {
      waiting = waiting || (target.report == nullptr && target.error.empty());
    }
    const int key =
        terminal->WaitKey(waiting ? std::min(interval, absl::Milliseconds(50)) : interval);
    if (!Scroll(key, std::max<size_t>(screen.page_models, 1), choices)) Press(key, choices);
  }
  return absl::OkStatus();
}

}  // namespace

void AddTopOptions(CLI::App& command, TopOptions& options) {
  CheckAddresses(*command
                      .add_option("targets,-t,--targets", options.targets,
                                  "Servers; of several, the same model's figures are added up")
                      ->type_name("HOST:PORT[,...]")
                      ->delimiter(',')
                      ->capture_default_str());
  command.add_option("-m,--model", options.model, "Only the versions of this model")
      ->type_name("NAME");
  command.add_option("--sort", options.sort, "Order: name, rate, p99, queue, headroom, cost")
      ->type_name("ORDER")
      ->check(CLI::IsMember({"name", "rate", "p99", "queue", "headroom", "cost"}))
      ->capture_default_str();
  command.add_option("-i,--interval", options.interval_seconds, "Seconds between two looks")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 3'600.0))
      ->capture_default_str();
  command.add_flag("--once", options.once, "Print it once, as plain text, and end");
  command.add_option("--timeout", options.timeout_seconds, "How long --once waits for each server")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.01, 3'600.0))
      ->capture_default_str();
}

absl::StatusOr<int> RunTop(const TopOptions& options) {
  if (options.once) return Once(options);
  const absl::Status status = Follow(options);
  if (absl::IsFailedPrecondition(status)) {
    return absl::FailedPreconditionError(
        absl::StrCat(status.message(), "; use --once to print it once"));
  }
  BITMILL_RETURN_IF_ERROR(status);
  return kExitOk;
}

}  // namespace bitmill
