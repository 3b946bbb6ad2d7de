// Windows with a known cause, made by simulating its mechanism: a quota that is used up, a thread
// that waits for its turn, a lock that is held, a page that comes from a disk. Ground truth for
// whatever judges windows; it knows nothing of how they are judged.
#pragma once

#include <cstdint>
#include <vector>

#include "server/analysis/observation.h"
#include "server/analysis/report.h"

namespace bitmill {

enum class SimulatedModel : uint8_t {
  kMicro,    // 80 us a row, one instance
  kCompute,  // 3 ms a row, almost all of it for each row, two instances
  kMemory,   // 12.5 ms, almost none of it for each row: 110 MB of weights
};
inline constexpr int kSimulatedModels = 3;

struct InjectedCase {
  SimulatedModel model = SimulatedModel::kMicro;
  std::vector<Cause> causes = {};  // none: healthy
  int intensity = 1;               // 0, 1 or 2; of a healthy one its load
  uint64_t seed = 1;
  // How long before the end of the window the causes began; 0: they were there all the time. Not of
  // those that are settings or the model's nature (CanBegin).
  double since_seconds = 0;
};

struct InjectedWindow {
  ModelWindow window;  // 5 s, at most 10,000 records
  HostWindow host;
  MachineLimits limits;
  ServiceLine line;  // as learnt before, a few percent off; samples 0 for some cold starts
};

// Deterministic. A few milliseconds; an overloaded microsecond model takes a tenth of a second.
InjectedWindow MakeInjectedWindow(const InjectedCase& injected);

// Every cause that can be injected, at all intensities, on all models.
std::vector<Cause> InjectableCauses();
// Whether it may begin within a window.
bool CanBegin(Cause cause);

}  // namespace bitmill
