#include "kernels/bconv/sparse_bconv.h"

#include <algorithm>

namespace bitmill {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kWordBits = 64;
constexpr int64_t kPlanes = 2;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Dense weights of two planes: mask, then signs.
class DenseWeights {
 public:
  explicit DenseWeights(const BconvArgs& args)
      : weights_(args.weights), words_(int64_t{args.taps} * args.c_words) {}

  int64_t words() const { return words_; }
  const uint64_t* At(int64_t block, int64_t word) const {
    return weights_ + (block * words_ + word) * kPlanes * kLanes;
  }
  bool Counts(int64_t block, int64_t word) const {
    const uint64_t* const mask = At(block, word);
    return std::any_of(mask, mask + kLanes, [](uint64_t lane) { return lane != 0; });
  }
  bool CountsIn(int64_t first_block, int64_t blocks, int64_t word) const {
    for (int64_t b = first_block; b < first_block + blocks; ++b) {
      if (Counts(b, word)) return true;
    }
    return false;
  }

 private:
  const uint64_t* weights_;
  int64_t words_;
};

// Blocks of each group in turn: group, first block, blocks.
template <typename Use>
void ForGroups(const BconvArgs& args, int32_t group_channels, Use use) {
  const int64_t blocks = CeilDiv(args.out_channels, kLanes);
  const int64_t group_blocks = group_channels / kLanes;
  for (int64_t first = 0; first < blocks; first += group_blocks) {
    use(first, std::min(group_blocks, blocks - first));
  }
}

// Whether all weights of the listed words count, so that they need no mask.
bool AllCount(const BconvArgs& args, int32_t channels, const SparseBconv& sparse,
              const std::vector<int64_t>& numbers) {
  const DenseWeights dense(args);
  const int64_t tap_words = CeilDiv(channels, kWordBits);
  bool all = true;
  size_t group = 0;
  ForGroups(args, sparse.lists.group_channels, [&](int64_t first, int64_t blocks) {
    const auto begin = static_cast<size_t>(sparse.first_word[group]);
    const auto end = static_cast<size_t>(sparse.first_word[++group]);
    for (size_t i = begin; i < end; ++i) {
      const int64_t used = std::min(kWordBits, channels - numbers[i] % tap_words * kWordBits);
      const uint64_t valid = ~uint64_t{0} >> (kWordBits - used);
      for (int64_t o = first * kLanes; o < (first + blocks) * kLanes; ++o) {
        if (o >= args.out_channels) break;
        all = all && dense.At(o / kLanes, numbers[i])[o % kLanes] == valid;
      }
    }
  });
  return all;
}

}  // namespace

double BconvDensity(const BconvArgs& args, int32_t group_channels) {
  if (args.planes != kPlanes) return 1.0;
  const DenseWeights dense(args);
  int64_t listed = 0;
  ForGroups(args, group_channels, [&](int64_t first, int64_t blocks) {
    for (int64_t w = 0; w < dense.words(); ++w) {
      if (dense.CountsIn(first, blocks, w)) listed += blocks;
    }
  });
  const int64_t all = CeilDiv(args.out_channels, kLanes) * dense.words();
  return static_cast<double>(listed) / static_cast<double>(all);
}

BconvArgs SparseBconv::Applied(BconvArgs args) const {
  args.weights = weights.as<uint64_t>();
  args.planes = planes;
  args.sparse = &lists;
  return args;
}

int64_t SparseBconv::bytes() const {
  return weights.size() + static_cast<int64_t>((first_word.size() + words.size()) * 4);
}

SparseBconv MakeSparseBconv(const BconvArgs& args, int32_t channels, int32_t group_channels) {
  const DenseWeights dense(args);
  SparseBconv sparse;
  std::vector<int64_t> numbers;  // of the listed words within the window
  int64_t listed = 0;            // blocks of words
  sparse.first_word.push_back(0);
  ForGroups(args, group_channels, [&](int64_t first, int64_t blocks) {
    for (int64_t w = 0; w < dense.words(); ++w) {
      if (!dense.CountsIn(first, blocks, w)) continue;
      numbers.push_back(w);
      sparse.words.push_back(args.tap_words[w / args.c_words] +
                             static_cast<int32_t>(w % args.c_words));
      listed += blocks;
    }
    sparse.first_word.push_back(static_cast<int32_t>(numbers.size()));
  });
  sparse.lists = {group_channels, sparse.first_word.data(), sparse.words.data()};
  sparse.planes = AllCount(args, channels, sparse, numbers) ? 1 : 2;
  sparse.weights = AlignedBuffer(listed * sparse.planes * kLanes * int64_t{sizeof(uint64_t)});
  auto* out = sparse.weights.as<uint64_t>();
  size_t group = 0;
  ForGroups(args, group_channels, [&](int64_t first, int64_t blocks) {
    const auto begin = static_cast<size_t>(sparse.first_word[group]);
    const auto end = static_cast<size_t>(sparse.first_word[++group]);
    for (int64_t b = first; b < first + blocks; ++b) {
      for (size_t i = begin; i < end; ++i) {
        const uint64_t* const from = dense.At(b, numbers[i]);
        if (sparse.planes == 2) out = std::copy_n(from, kLanes, out);
        out = std::copy_n(from + kLanes, kLanes, out);
      }
    }
  });
  return sparse;
}

}  // namespace bitmill
