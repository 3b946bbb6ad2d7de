#include "server/batch/punctuality.h"

#include <algorithm>
#include <iterator>

namespace bitmill {

void Punctuality::Expect(absl::Span<BatchItem* const> items, MonotonicNanos within_ns) {
  dues_.reserve(items.size());
  for (const BatchItem* const item : items) {
    const bool tells = item->received_ns != 0;
    dues_.push_back((tells ? item->received_ns : item->queued_ns) + within_ns);
  }
}

void Punctuality::Tell(MonotonicNanos now_ns, MonotonicNanos within_ns, Admission& admission) {
  if (dues_.empty()) return;
  const auto late = std::ranges::count_if(dues_, [now_ns](auto due) { return due < now_ns; });
  admission.Learn(late, std::ssize(dues_), within_ns);
  dues_.clear();
}

}  // namespace bitmill
