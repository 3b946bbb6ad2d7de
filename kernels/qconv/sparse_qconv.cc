#include "kernels/qconv/sparse_qconv.h"

#include <algorithm>

#include "kernels/qconv/qconv_parts.h"
#include "kernels/qconv/qconv_table.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kStepChannels = 4;
constexpr int64_t kUnitBytes = 32;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

QconvOccupancy::QconvOccupancy(const QconvFilterView& filter)
    : blocks_(CeilDiv(filter.out_channels, kLanes)) {
  const int64_t tap_steps = CeilDiv(filter.channels, kStepChannels);
  const int64_t unit_steps = QconvUnitSteps(filter.kind);
  const int shift = __builtin_ctzll(static_cast<uint64_t>(unit_steps));
  units_ = CeilDiv(tap_steps * filter.taps, unit_steps);
  occupied_.assign(static_cast<size_t>(blocks_ * units_), 0);
  const int8_t* w = filter.weights;
  for (int64_t o = 0; o < filter.out_channels; ++o) {
    uint8_t* const row = occupied_.data() + o / kLanes * units_;
    for (int64_t c = 0; c < filter.channels; ++c) {
      for (int64_t t = 0; t < filter.taps; ++t) {
        if (*w++ != 0) row[(t * tap_steps + c / kStepChannels) >> shift] = 1;
      }
    }
  }
}

bool QconvOccupancy::Occupied(int64_t first_block, int64_t blocks, int64_t unit) const {
  for (int64_t b = first_block; b < first_block + blocks; ++b) {
    if (occupied_[static_cast<size_t>(b * units_ + unit)] != 0) return true;
  }
  return false;
}

double QconvOccupancy::Density(int32_t group_channels) const {
  const int64_t group_blocks = group_channels / kLanes;
  int64_t listed = 0;
  for (int64_t first = 0; first < blocks_; first += group_blocks) {
    const int64_t blocks = std::min(group_blocks, blocks_ - first);
    for (int64_t u = 0; u < units_; ++u) listed += Occupied(first, blocks, u) ? blocks : 0;
  }
  return static_cast<double>(listed) / static_cast<double>(blocks_ * units_);
}

QconvArgs SparseQconv::Applied(QconvArgs args) const {
  args.weights = weights.as<uint8_t>();
  args.sparse = &lists;
  return args;
}

int64_t SparseQconv::bytes() const {
  return weights.size() + static_cast<int64_t>((first_unit.size() + units.size()) * 4);
}

SparseQconv MakeSparseQconv(const QconvFilterView& filter, const QconvOccupancy& occupancy,
                            int32_t group_channels) {
  const int64_t group_blocks = group_channels / kLanes;
  SparseQconv sparse;
  int64_t listed = 0;  // units of blocks
  sparse.first_unit.push_back(0);
  for (int64_t first = 0; first < occupancy.blocks(); first += group_blocks) {
    const int64_t blocks = std::min(group_blocks, occupancy.blocks() - first);
    for (int64_t u = 0; u < occupancy.units(); ++u) {
      if (!occupancy.Occupied(first, blocks, u)) continue;
      sparse.units.push_back(static_cast<int32_t>(u));
      listed += blocks;
    }
    sparse.first_unit.push_back(static_cast<int32_t>(sparse.units.size()));
  }
  sparse.lists = {group_channels, sparse.first_unit.data(), sparse.units.data()};

  AlignedBuffer dense(
      PackedQconvBytes(filter.kind, filter.out_channels, filter.channels, filter.taps));
  PackQconvWeights(filter.weights, filter.kind, filter.out_channels, filter.channels, filter.taps,
                   dense.as<uint8_t>());
  sparse.weights = AlignedBuffer(listed * kUnitBytes);
  auto* out = sparse.weights.as<uint8_t>();
  for (int64_t block = 0; block < occupancy.blocks(); block += 2) {
    const auto group = static_cast<size_t>(block / group_blocks);
    // The units of a pair lie side by side, those of a last block alone.
    const int64_t pair_bytes = std::min<int64_t>(2, occupancy.blocks() - block) * kUnitBytes;
    const uint8_t* const from = dense.as<uint8_t>() + block * occupancy.units() * kUnitBytes;
    const auto begin = static_cast<size_t>(sparse.first_unit[group]);
    const auto end = static_cast<size_t>(sparse.first_unit[group + 1]);
    for (size_t i = begin; i < end; ++i) {
      out = std::copy_n(from + sparse.units[i] * pair_bytes, pair_bytes, out);
    }
  }
  return sparse;
}

}  // namespace bitmill
