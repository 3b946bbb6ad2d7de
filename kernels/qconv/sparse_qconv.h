// Weights of a low-bit convolution without their empty units; made once, when a model is compiled.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/qconv/qconv.h"

namespace bitmill {

// Logical weights w[out_channels][channels][taps] of one group, as PackQconvWeights() takes them.
struct QconvFilterView {
  const int8_t* weights;
  QconvWeights kind;
  int32_t out_channels, channels, taps;
};

// Where weights are that are not zero, by unit and block of 8 output channels.
class QconvOccupancy {
 public:
  explicit QconvOccupancy(const QconvFilterView& filter);

  // Units in which any weight of a group is not zero / all units; between 0 and 1.
  double Density(int32_t group_channels) const;
  bool Occupied(int64_t first_block, int64_t blocks, int64_t unit) const;

  int64_t blocks() const { return blocks_; }
  int64_t units() const { return units_; }

 private:
  int64_t blocks_, units_;
  std::vector<uint8_t> occupied_;  // [blocks][units]
};

// Not copied: `lists` points into the vectors, which a move leaves where they are.
struct SparseQconv {
  // The same call with these weights, which must outlive it.
  QconvArgs Applied(QconvArgs args) const;
  int64_t bytes() const;

  std::vector<int32_t> first_unit, units;
  AlignedBuffer weights;
  QconvSparse lists = {};
};

SparseQconv MakeSparseQconv(const QconvFilterView& filter, const QconvOccupancy& occupancy,
                            int32_t group_channels);

}  // namespace bitmill
