#include "kernels/roofline/kernel_suite.h"

#include <algorithm>
#include <map>
#include <utility>

#include "kernels/roofline/burst.h"
#include "kernels/roofline/suite_cases.h"

namespace bitmill {
namespace {

constexpr double kGiga = 1e9;

// What binds a case, and how many of its units (products, or bytes where none are counted) the
// ceiling's units stand for.
struct Bound {
  Ceiling ceiling;
  double units_each;
};

Bound BoundOf(const SuiteCase& c, const Roofline& roofline) {
  const Ceiling level = ReadLevel(c.footprint);
  if (c.macs <= 0) return {level, 1.0};
  const Bound read = {level, c.macs / c.read_bytes};
  const Bound products = {c.arithmetic, 1.0};
  return roofline[level] * read.units_each < roofline[c.arithmetic] ? read : products;
}

// Ceilings of one level, and loops of products made when they are first needed.
struct Level {
  Roofline roofline;
  std::map<Ceiling, CeilingLoop> products;
};

bool IsReading(Ceiling ceiling) { return ceiling >= Ceiling::kReadL1; }

// The case and its ceiling in turn, burst by burst: what slows the machine down for a while slows
// both, so the median of the ratios stands still where either rate does not.
void MeasureInTurn(const SuiteCase& c, const Bound& bound, CeilingLoop& loop,
                   const KernelSuiteOptions& options, KernelRecord& record) {
  const double units = c.macs > 0 ? c.macs : c.read_bytes;
  const int64_t turns = TurnsOfBurst(c.run);
  const double start = ThreadSeconds();
  std::vector<double> rates, ceilings, shares;
  double before = loop.BurstRate() * bound.units_each;
  while (static_cast<int>(shares.size()) < options.pairs ||
         ThreadSeconds() - start < options.seconds) {
    const double begin = ThreadSeconds();
    for (int64_t i = 0; i < turns; ++i) c.run();
    const double elapsed = ThreadSeconds() - begin;
    const double after = loop.BurstRate() * bound.units_each;
    if (elapsed > 0) {
      rates.push_back(units * static_cast<double>(turns) / elapsed);
      ceilings.push_back((before + after) / 2);
      shares.push_back(rates.back() / ceilings.back());
    }
    before = after;
  }
  record.value = Quantile(rates, 0.5) / kGiga;
  record.ceiling = Quantile(ceilings, 0.5) / kGiga;
  record.share = Quantile(shares, 0.5);
  record.spread = (Quantile(shares, 0.75) - Quantile(shares, 0.25)) / record.share;
}

KernelRecord Measure(const SuiteCase& c, const SuiteGroup& group, Level& level,
                     const KernelSuiteOptions& options) {
  KernelRecord record;
  record.name = c.name;
  record.kind = group.kind;
  record.shape = group.shape;
  record.batch = group.batch;
  record.isa = c.isa;
  record.unit = c.macs > 0 ? "GMAC/s" : "GB/s";
  record.right = c.right();
  if (!record.right) return record;
  const Bound bound = BoundOf(c, level.roofline);
  record.bound = bound.ceiling;
  if (IsReading(bound.ceiling)) {
    // As many bytes as the case touches: caches do not end where their size says.
    CeilingLoop loop(c.isa, bound.ceiling, 1, static_cast<int64_t>(c.footprint));
    MeasureInTurn(c, bound, loop, options, record);
    return record;
  }
  auto loop = level.products.find(bound.ceiling);
  if (loop == level.products.end()) {
    loop = level.products.emplace(bound.ceiling, CeilingLoop(c.isa, bound.ceiling)).first;
  }
  MeasureInTurn(c, bound, loop->second, options, record);
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
  std::map<Isa, Level> levels;
  std::vector<KernelRecord> records;
  for (size_t i = 0; i < groups.size(); ++i) {
    const SuiteGroup& group = groups[i];
    if (options.progress) {
      options.progress(static_cast<double>(i) / static_cast<double>(groups.size()),
                       group.kind + " " + group.shape);
    }
    for (const SuiteCase& c : group.make()) {
      if (!Matches(options.filter, c, group)) continue;
      auto level = levels.find(c.isa);
      if (level == levels.end()) {
        const auto known = options.rooflines.find(c.isa);
        level = levels.emplace(c.isa, Level()).first;
        level->second.roofline = known != options.rooflines.end()
                                     ? known->second
                                     : MeasureRoofline(c.isa, options.roofline_seconds);
      }
      records.push_back(Measure(c, group, level->second, options));
    }
  }
  return records;
}

}  // namespace bitmill
