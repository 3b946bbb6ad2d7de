#include "kernels/roofline/kernel_suite.h"

#include <time.h>

#include <algorithm>
#include <map>

#include "kernels/roofline/suite_cases.h"

namespace bitmill {
namespace {

constexpr double kBurstSeconds = 1e-3;
constexpr double kGiga = 1e9;

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Seconds of one run in the best burst of several runs.
double BestSeconds(const std::function<void()>& run, double seconds) {
  const double start = ThreadSeconds();
  run();
  const double once = std::max(ThreadSeconds() - start, 1e-9);
  const int64_t runs = std::max<int64_t>(1, static_cast<int64_t>(kBurstSeconds / once));
  double best = once;
  do {
    const double before = ThreadSeconds();
    for (int64_t i = 0; i < runs; ++i) run();
    const double elapsed = (ThreadSeconds() - before) / static_cast<double>(runs);
    if (elapsed > 0) best = std::min(best, elapsed);
  } while (ThreadSeconds() - start < seconds);
  return best;
}

// Products a second that arithmetic allows; 0 when none are counted.
double ArithmeticCeiling(const SuiteCase& c, const Roofline& roofline) {
  switch (c.arithmetic) {
    case Arithmetic::kBit:
      return roofline.bit_macs_per_s;
    case Arithmetic::kTernary:
      // The mask costs nothing beside vpternlog, which carry-save addition is made of.
      return c.isa == Isa::kAvx512 ? roofline.bit_macs_per_s : roofline.bit_popcount_macs_per_s;
    case Arithmetic::kLowBitInt8:
      return roofline.low_bit_int8_macs_per_s;
    case Arithmetic::kNone:
      break;
  }
  return 0.0;
}

KernelRecord Measure(const SuiteCase& c, const SuiteGroup& group, const Roofline& roofline,
                     double seconds) {
  KernelRecord record;
  record.name = c.name;
  record.kind = group.kind;
  record.shape = group.shape;
  record.batch = group.batch;
  record.isa = c.isa;
  record.unit = c.macs > 0 ? "GMAC/s" : "GB/s";
  const double units = c.macs > 0 ? c.macs : c.read_bytes;
  // Units a second if nothing but reading took time.
  const double read = ReadCeiling(roofline, c.footprint) / c.read_bytes * units;
  const double arithmetic = ArithmeticCeiling(c, roofline);
  record.ceiling = (arithmetic > 0 ? std::min(arithmetic, read) : read) / kGiga;
  record.right = c.right();
  if (!record.right) return record;
  record.value = units / BestSeconds(c.run, seconds) / kGiga;
  record.share = record.ceiling > 0 ? record.value / record.ceiling : 0.0;
  return record;
}

bool Matches(const std::string& filter, const SuiteCase& c, const SuiteGroup& group) {
  const auto holds = [&filter](const std::string& text) {
    return text.find(filter) != std::string::npos;
  };
  return filter.empty() || holds(c.name) || holds(group.kind) || holds(group.shape);
}

}  // namespace

std::vector<KernelRecord> RunKernelSuite(const KernelSuiteOptions& options) {
  const std::vector<SuiteGroup> groups =
      SuiteGroups(options.isa, options.only_best, options.batches);
  std::map<Isa, Roofline> rooflines = options.rooflines;
  std::vector<KernelRecord> records;
  for (size_t i = 0; i < groups.size(); ++i) {
    const SuiteGroup& group = groups[i];
    if (options.progress) {
      options.progress(static_cast<double>(i) / static_cast<double>(groups.size()),
                       group.kind + " " + group.shape);
    }
    for (const SuiteCase& c : group.make()) {
      if (!Matches(options.filter, c, group)) continue;
      if (rooflines.find(c.isa) == rooflines.end()) {
        rooflines[c.isa] = MeasureRoofline(c.isa, options.roofline_seconds);
      }
      records.push_back(Measure(c, group, rooflines[c.isa], options.seconds));
    }
  }
  return records;
}

}  // namespace bitmill
