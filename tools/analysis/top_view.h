// What `bitmill top` shows, as lines of text.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tools/analysis/fleet.h"

namespace bitmill {

struct TopLayout {
  size_t columns = 0;    // of the terminal; 0: as wide as the content
  size_t rows = 0;       // 0: as many as there are
  bool colours = false;  // ANSI colours and bold
  FleetOrder order = FleetOrder::kRate;
  std::string model;       // only this one; empty: all
  std::string message;     // the last line: what the keys do; empty: none
  size_t first_model = 0;  // where the models begin, when not all fit
};

struct TopScreen {
  std::vector<std::string> lines;
  // Of the models that are shown when not all fit, so that the last page is a full one.
  size_t first_model = 0;
  size_t page_models = 0;  // 0: they all fit
};

// A line for each server, the models in the layout's order (REQ/S are those answered, LOST/S those
// refused, expired or failed, COSTS what the bottleneck costs of p99), the warnings. No line is
// wider than the terminal, there are no more lines than it has rows, and no byte of a server can
// steer it. Columns that do not fit are left out, the least telling first. Of more lines than rows,
// the models scroll, and servers and warnings that have no room are counted.
TopScreen DrawTop(const Fleet& fleet, const TopLayout& layout);
// Its lines alone.
std::vector<std::string> TopLines(const Fleet& fleet, const TopLayout& layout);

// "name", "rate", "p99", "queue", "headroom", "cost".
absl::string_view OrderName(FleetOrder order);
inline constexpr int kFleetOrders = 6;

// "now", "45 s", "12 min"; "-" for what is not known.
std::string UntilText(double seconds);

}  // namespace bitmill
