// The samples and results of data/expected.npz, made by data/make_expected.py.
#pragma once

#include <string>

#include "base/npz.h"
#include "gtest/gtest.h"

namespace bitmill {

inline const NamedTensors& Expected() {
  static const auto* const tensors = [] {
    auto read = ReadNpz(std::string(BITMILL_SOURCE_DIR) +
                        "/tests/server/analysis/quality/data/expected.npz");
    EXPECT_TRUE(read.ok()) << read.status();
    return new NamedTensors(read.ok() ? *std::move(read) : NamedTensors{});
  }();
  return *tensors;
}

template <typename T>
absl::Span<const T> ExpectedValues(const std::string& name) {
  const auto found = Expected().find(name);
  EXPECT_NE(found, Expected().end()) << name;
  if (found == Expected().end()) return {};
  EXPECT_EQ(DTypeSize(found->second.dtype()), static_cast<int64_t>(sizeof(T))) << name;
  return found->second.span<T>();
}

}  // namespace bitmill
