#include "server/analysis/routing_report.h"

namespace bitmill {

void RecentRoutes::Update(RoutingReport& routing) {
  std::vector<int64_t> now;
  now.reserve(routing.backends.size());
  for (const RouteBackendReport& backend : routing.backends) now.push_back(backend.batches);
  // Another set of backends is another load.
  if (!batches_.empty() && batches_.front().size() != now.size()) batches_.clear();
  if (batches_.empty()) batches_.emplace_back(now.size(), 0);
  const std::vector<int64_t>& before = batches_.front();
  int64_t all = 0;
  for (size_t i = 0; i < now.size(); ++i) all += now[i] - before[i];
  for (size_t i = 0; i < now.size() && all > 0; ++i) {
    routing.backends[i].recent_share =
        static_cast<double>(now[i] - before[i]) / static_cast<double>(all);
  }
  batches_.push_back(std::move(now));
  while (batches_.size() > ticks_) batches_.pop_front();
}

}  // namespace bitmill
