// The growth of a counter since it was first read.
#pragma once

#include <cstdint>
#include <optional>

namespace bitmill {

// A counter that starts again (another control group, another device) goes on from where it was: a
// smaller reading adds nothing. Not thread-safe.
class RunningTotal {
 public:
  // nullopt: could not be read. Returns what was added.
  int64_t Add(std::optional<int64_t> reading) {
    readable_ = reading.has_value();
    if (!readable_) return 0;
    const int64_t growth = last_ && *reading > *last_ ? *reading - *last_ : 0;
    last_ = reading;
    total_ += growth;
    return growth;
  }
  // The next reading is of another counter: it is where that one starts.
  void Rebase() { last_.reset(); }
  // -1 while it cannot be read.
  int64_t value() const { return readable_ ? total_ : -1; }

 private:
  std::optional<int64_t> last_;
  int64_t total_ = 0;
  bool readable_ = false;
};

}  // namespace bitmill
