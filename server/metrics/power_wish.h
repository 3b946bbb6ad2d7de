// What an operator asks of power, of one model or of the whole server.
#pragma once

namespace bitmill {

struct PowerWish {
  double max_watts = 0;     // 0: no limit
  bool efficiency = false;  // fewest joules a row that the objective allows

  bool any() const { return max_watts > 0 || efficiency; }
};

}  // namespace bitmill
