// How many of a batch's requests were answered too late, for the admission to learn from. The items
// themselves are gone when that is known.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "base/clock.h"
#include "server/batch/admission.h"
#include "server/batch/batch_item.h"

namespace bitmill {

// Of one thread that runs batches.
class Punctuality {
 public:
  // These are to be run, and had `within_ns` from when they were received.
  void Expect(absl::Span<BatchItem* const> items, MonotonicNanos within_ns);
  // Whatever was expected is answered at `now_ns`.
  void Tell(MonotonicNanos now_ns, MonotonicNanos within_ns, Admission& admission);

 private:
  std::vector<MonotonicNanos> dues_;
};

}  // namespace bitmill
