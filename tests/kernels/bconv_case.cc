#include "tests/kernels/bconv_case.h"

#include <algorithm>
#include <climits>

#include "kernels/bconv/sparse_bconv.h"

namespace bitmill::test {
namespace {

// Gaps of the output, so that a store outside a pixel shows.
constexpr int64_t kPixelGap = 3;
constexpr int64_t kRowGap = 5;
constexpr int64_t kImageGap = 7;

GuardedRegion* Region(int index) {
  static GuardedRegion regions[14];
  return &regions[index];
}

}  // namespace

std::string BconvShape::ToString() const {
  const auto text = [](auto value) { return std::to_string(value); };
  return text(batch) + "x" + text(in_h) + "x" + text(in_w) + "x" + text(channels) + " -> " +
         text(out_channels) + ", kernel " + text(kernel_h) + "x" + text(kernel_w) + ", stride " +
         text(stride_h) + "x" + text(stride_w) + ", dilation " + text(dilation_h) + "x" +
         text(dilation_w) + ", pad " + text(pad) + " of " + text(pad_value) + ", planes " +
         text(planes) + ", extra words " + text(extra_words) + ", negate " + text(negate) +
         ", extreme " + text(extreme) + ", all minus " + text(all_minus) + ", empty " +
         text(empty_percent) + " % by " + text(empty_channels) + ", full " + text(full) +
         ", output " + text(static_cast<int>(output));
}

BconvCase::BconvCase(const BconvShape& shape, uint32_t seed) : shape_(shape) {
  std::mt19937 random(seed);
  const BconvShape& s = shape_;
  padded_channels_ = (s.out_channels + 7) / 8 * 8;
  padded_h_ = s.in_h + 2 * s.pad;
  padded_w_ = s.in_w + 2 * s.pad;
  pixel_words_ = s.c_words() + s.extra_words;

  activations_.resize(size_t(s.batch) * s.in_h * s.in_w * s.channels);
  for (int8_t& a : activations_) {
    a = s.extreme || random() % 2 == 0 ? 1 : -1;
    if (s.all_minus) a = -1;
  }
  weights_.resize(size_t(s.out_channels) * s.channels * s.taps());
  for (int8_t& w : weights_) {
    w = random() % 2 == 0 ? 1 : -1;
    if (s.planes == 2 && !s.full && random() % 3 == 0) w = 0;
    if (s.extreme || s.all_minus) w = -1;
  }
  PruneWeights(random);
  negate_.resize(s.out_channels);
  for (uint8_t& n : negate_) n = s.negate && random() % 2 == 0;

  // Words of other groups lie after the used ones and hold anything.
  input_.resize(size_t(s.batch) * padded_h_ * padded_w_ * pixel_words_);
  for (uint64_t& word : input_) word = (uint64_t{random()} << 32) | random();
  for (int32_t n = 0; n < s.batch; ++n) {
    for (int32_t y = 0; y < padded_h_; ++y) {
      for (int32_t x = 0; x < padded_w_; ++x) {
        uint64_t* pixel = &input_[((size_t(n) * padded_h_ + y) * padded_w_ + x) * pixel_words_];
        std::fill_n(pixel, s.c_words(), 0);
        for (int32_t c = 0; c < s.channels; ++c) {
          if (Activation(n, y - s.pad, x - s.pad, c) < 0) pixel[c / 64] |= uint64_t{1} << c % 64;
        }
      }
    }
  }
  packed_.resize(PackedBconvWords(s.out_channels, s.channels, s.taps(), s.planes));
  PackBconvWeights(weights_.data(), s.out_channels, s.channels, s.taps(), s.planes,
                   s.negate ? negate_.data() : nullptr, packed_.data());

  for (int32_t ky = 0; ky < s.kernel_h; ++ky) {
    for (int32_t kx = 0; kx < s.kernel_w; ++kx) {
      tap_words_.push_back((ky * s.dilation_h * padded_w_ + kx * s.dilation_w) * pixel_words_);
    }
  }
  // Zero padding has a class for each output pixel; the others have one class.
  const bool classes = s.pad > 0 && s.pad_value == 0;
  for (int32_t y = 0; classes && y < s.out_h(); ++y) row_class_.push_back(y);
  for (int32_t x = 0; classes && x < s.out_w(); ++x) col_class_.push_back(x);
  const int32_t class_count = classes ? s.out_h() * s.out_w() : 1;
  base_.assign(size_t(class_count) * padded_channels_, 12345);
  limits_.assign(size_t(class_count) * padded_channels_, -1);
  for (int32_t k = 0; k < class_count; ++k) {
    for (int32_t o = 0; o < s.out_channels; ++o) {
      int32_t products = 0;  // that count, plus what the border adds too much
      int32_t used = 0;
      for (int32_t t = 0; t < s.taps(); ++t) {
        const int32_t y =
            k / std::max(1, s.out_w()) * s.stride_h + t / s.kernel_w * s.dilation_h - s.pad;
        const int32_t x =
            k % std::max(1, s.out_w()) * s.stride_w + t % s.kernel_w * s.dilation_w - s.pad;
        const bool outside = classes && (y < 0 || y >= s.in_h || x < 0 || x >= s.in_w);
        for (int32_t c = 0; c < s.channels; ++c) {
          const int32_t w = weights_[(size_t(o) * s.channels + c) * s.taps() + t];
          used += w != 0;
          products += (w != 0) - (outside ? (negate_[o] ? -w : w) : 0);
        }
      }
      base_[size_t(k) * padded_channels_ + o] = products;
      const int32_t around = used / 2 + static_cast<int32_t>(random() % 9) - 4;
      const uint32_t kind = random() % 16;
      limits_[size_t(k) * padded_channels_ + o] = kind == 0 ? INT_MAX : kind == 1 ? -1 : around;
      if (s.extreme && kind > 1) limits_[size_t(k) * padded_channels_ + o] = used - kind % 2;
    }
  }
  scale_.resize(padded_channels_);
  bias_.resize(padded_channels_);
  for (float& value : scale_) value = static_cast<float>(random() % 2000) / 777.0f - 1.0f;
  for (float& value : bias_) value = static_cast<float>(random() % 2000) / 333.0f - 3.0f;

  const int64_t pixel = s.output == BconvOutput::kBits ? (s.out_channels + 7) / 8 : s.out_channels;
  out_pixel_ = pixel + kPixelGap;
  out_row_ = out_pixel_ * s.out_w() + kRowGap;
  out_image_ = out_row_ * s.out_h() + kImageGap;
}

void BconvCase::PruneWeights(std::mt19937& random) {
  const BconvShape& s = shape_;
  if (s.empty_percent == 0) return;
  for (int32_t first = 0; first < s.out_channels; first += s.empty_channels) {
    const int32_t end = std::min(first + s.empty_channels, s.out_channels);
    for (int32_t word = 0; word < s.c_words() * s.taps(); ++word) {
      if (static_cast<int32_t>(random() % 100) >= s.empty_percent) continue;
      for (int32_t o = first; o < end; ++o) {
        for (int32_t c = word / s.taps() * 64; c < s.channels && c < word / s.taps() * 64 + 64;
             ++c) {
          weights_[(size_t(o) * s.channels + c) * s.taps() + word % s.taps()] = 0;
        }
      }
    }
  }
}

int32_t BconvCase::Activation(int32_t n, int32_t y, int32_t x, int32_t c) const {
  const BconvShape& s = shape_;
  if (y < 0 || y >= s.in_h || x < 0 || x >= s.in_w) return s.pad_value;
  return activations_[((size_t(n) * s.in_h + y) * s.in_w + x) * s.channels + c];
}

int32_t BconvCase::Accumulator(int32_t n, int32_t y, int32_t x, int32_t o) const {
  const BconvShape& s = shape_;
  int32_t sum = 0;
  for (int32_t t = 0; t < s.taps(); ++t) {
    const int32_t iy = y * s.stride_h + t / s.kernel_w * s.dilation_h - s.pad;
    const int32_t ix = x * s.stride_w + t % s.kernel_w * s.dilation_w - s.pad;
    for (int32_t c = 0; c < s.channels; ++c) {
      sum += weights_[(size_t(o) * s.channels + c) * s.taps() + t] * Activation(n, iy, ix, c);
    }
  }
  return negate_[o] ? -sum : sum;
}

int64_t BconvCase::OutputIndex(int32_t n, int32_t y, int32_t x) const {
  return n * out_image_ + y * out_row_ + x * out_pixel_;
}

// The last pixel has no gap behind it: a store past it faults.
int64_t BconvCase::OutputBytes() const {
  const BconvShape& s = shape_;
  const int64_t last = OutputIndex(s.batch - 1, s.out_h() - 1, s.out_w() - 1);
  return (last + out_pixel_ - kPixelGap) * (s.output == BconvOutput::kBits ? 1 : 4);
}

std::vector<uint8_t> BconvCase::Run(const BconvKernel& kernel, BconvPrepared prepared, Flush flush,
                                    int32_t group_channels) const {
  const BconvShape& s = shape_;
  BconvArgs args = {};
  args.input = Region(0)->PlaceCopy(input_, flush);
  args.row_words = int64_t{padded_w_} * pixel_words_;
  args.image_words = args.row_words * padded_h_;
  if (flush == Flush::kBack && s.extra_words > 0) {
    // The used words end the memory: those of other groups of the last pixel are out of reach.
    const size_t words = input_.size() - s.extra_words;
    uint64_t* input = Region(0)->Place<uint64_t>(words, flush);
    std::copy_n(input_.begin(), words, input);
    args.input = input;
  }
  args.pixel_words = pixel_words_;
  args.c_words = s.c_words();
  args.batch = s.batch;
  args.out_h = s.out_h();
  args.out_w = s.out_w();
  args.out_channels = s.out_channels;
  args.stride_h = s.stride_h;
  args.stride_w = s.stride_w;
  args.tap_words = Region(1)->PlaceCopy(tap_words_, flush);
  args.taps = s.taps();
  args.weights = Region(2)->PlaceCopy(packed_, flush);
  args.planes = s.planes;
  if (!row_class_.empty()) {
    args.row_class = Region(3)->PlaceCopy(row_class_, flush);
    args.col_class = Region(4)->PlaceCopy(col_class_, flush);
    args.col_classes = s.out_w();
  }
  const size_t bytes = OutputBytes();
  uint8_t* output = Region(5)->Place<uint8_t>(bytes, flush);
  if (s.output == BconvOutput::kBits) {
    args.limits = Region(6)->PlaceCopy(limits_, flush);
    args.out_bits = output;
  } else {
    args.base = Region(7)->PlaceCopy(base_, flush);
    if (s.output == BconvOutput::kInt32) args.out_int32 = reinterpret_cast<int32_t*>(output);
    if (s.output == BconvOutput::kFloat) {
      args.out_float = reinterpret_cast<float*>(output);
      args.scale = Region(8)->PlaceCopy(scale_, flush);
      args.bias = Region(9)->PlaceCopy(bias_, flush);
    }
  }
  args.out_pixel = out_pixel_;
  args.out_row = out_row_;
  args.out_image = out_image_;
  SparseBconv sparse;
  if (group_channels > 0) {
    BconvArgs dense = args;
    dense.weights = packed_.data();
    dense.tap_words = tap_words_.data();
    sparse = MakeSparseBconv(dense, s.channels, group_channels);
    args = sparse.Applied(args);
    args.weights = Region(2)->PlaceCopy(
        std::vector<uint64_t>(args.weights, args.weights + sparse.weights.size() / 8), flush);
    sparse.lists.first_word = Region(13)->PlaceCopy(sparse.first_word, flush);
    if (!sparse.words.empty()) sparse.lists.words = Region(12)->PlaceCopy(sparse.words, flush);
  }
  if (prepared != BconvPrepared::kNone) {
    BconvArgs typical = args;
    if (prepared == BconvPrepared::kOnePixel) typical.batch = typical.out_h = typical.out_w = 1;
    const int64_t prepared_bytes = PreparedBconvBytes(kernel, typical);
    if (prepared_bytes > 0) {
      // On a boundary of 64 bytes at either end of a page.
      BITMILL_CHECK(prepared_bytes % 64 == 0);
      uint8_t* weights = Region(10)->Place<uint8_t>(static_cast<size_t>(prepared_bytes), flush);
      PrepareBconv(kernel, typical, weights);
      args.prepared = weights;
    }
  }
  const int64_t scratch_bytes = BconvScratchBytes(kernel, args);
  if (prepared != BconvPrepared::kNone && scratch_bytes > 0) {
    BITMILL_CHECK(scratch_bytes % 64 == 0);
    args.scratch = Region(11)->Place<uint8_t>(static_cast<size_t>(scratch_bytes), flush);
  }
  kernel.run(args);
  return std::vector<uint8_t>(output, output + bytes);
}

std::vector<uint8_t> BconvCase::Expected() const {
  const BconvShape& s = shape_;
  std::vector<uint8_t> bytes(OutputBytes(), 0xcd);
  for (int32_t n = 0; n < s.batch; ++n) {
    for (int32_t y = 0; y < s.out_h(); ++y) {
      for (int32_t x = 0; x < s.out_w(); ++x) {
        const size_t row = row_class_.empty() ? 0 : (size_t(y) * s.out_w() + x) * padded_channels_;
        const int64_t index = OutputIndex(n, y, x);
        for (int32_t o = 0; o < s.out_channels; ++o) {
          const int32_t acc = Accumulator(n, y, x, o);
          if (s.output == BconvOutput::kBits) {
            const int32_t differences = (base_[row + o] - acc) / 2;
            uint8_t& byte = bytes[index + o / 8];
            if (o % 8 == 0) byte = 0;
            byte = static_cast<uint8_t>(byte | (differences > limits_[row + o]) << o % 8);
          } else if (s.output == BconvOutput::kInt32) {
            std::memcpy(&bytes[(index + o) * 4], &acc, 4);
          } else {
            const float scaled = static_cast<float>(acc) * scale_[o];
            const float value = scaled + bias_[o];
            std::memcpy(&bytes[(index + o) * 4], &value, 4);
          }
        }
      }
    }
  }
  return bytes;
}

}  // namespace bitmill::test
