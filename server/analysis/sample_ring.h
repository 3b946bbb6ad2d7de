// The last samples of something that is looked at every now and then, for sliding windows.
#pragma once

#include <cstddef>
#include <vector>

#include "base/clock.h"

namespace bitmill {

// `T` has a field `MonotonicNanos at_ns`; samples come in the order of it. Not thread-safe.
template <class T>
class SampleRing {
 public:
  explicit SampleRing(size_t capacity) : capacity_(capacity) { samples_.reserve(capacity); }

  void Push(const T& sample) {
    if (samples_.size() < capacity_) {
      samples_.push_back(sample);
    } else {
      samples_[begin_] = sample;
      begin_ = (begin_ + 1) % capacity_;
    }
  }
  size_t size() const { return samples_.size(); }
  // From the oldest, 0, to the newest.
  const T& operator[](size_t index) const { return samples_[(begin_ + index) % samples_.size()]; }
  const T& newest() const { return (*this)[size() - 1]; }

  // The newest sample that lies at least `length` before the newest of all, else the oldest. Not to
  // be called while there is none.
  const T& Before(MonotonicNanos length) const {
    size_t low = 0, high = size() - 1;  // the answer is in [low, high]
    while (low < high) {
      const size_t middle = (low + high + 1) / 2;
      if (newest().at_ns - (*this)[middle].at_ns >= length) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return (*this)[low];
  }

 private:
  size_t capacity_;
  size_t begin_ = 0;
  std::vector<T> samples_;
};

}  // namespace bitmill
