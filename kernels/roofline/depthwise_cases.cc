// Depthwise convolutions of the suite. A word of 64 channels takes as many operations as the
// ceiling's exclusive or, count and addition of a word, so that products are a share of that.
#include <cstring>
#include <memory>
#include <string>

#include "kernels/bdepth/bdepth_table.h"
#include "kernels/roofline/suite_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kKernel = 3;
constexpr int64_t kTaps = kKernel * kKernel;

struct DepthwiseData {
  BdepthArgs args = {};
  std::vector<uint64_t> input, weights, limits;
  std::vector<int32_t> tap_words, base;
  std::vector<float> scale, bias;
  std::vector<uint64_t> bits, expected_bits;
  std::vector<float> floats, expected_floats;

  bool floats_out() const { return !floats.empty(); }
  void Run(BdepthFn run, std::vector<uint64_t>& to_bits, std::vector<float>& to_floats) {
    args.out_bits = floats_out() ? nullptr : to_bits.data();
    args.out_float = floats_out() ? to_floats.data() : nullptr;
    run(args);
  }
};

// A padded image; limits and base are the same everywhere.
std::shared_ptr<DepthwiseData> MakeDepthwise(int64_t side, int64_t channels, int64_t batch,
                                             bool floats_out) {
  auto data = std::make_shared<DepthwiseData>();
  BdepthArgs& args = data->args;
  const int64_t c_words = channels / 64, in_side = side + kKernel - 1;
  args.row_words = in_side * c_words;
  args.image_words = in_side * args.row_words;
  data->input = Random<uint64_t>(batch * args.image_words);
  args.input = data->input.data();
  args.channels = static_cast<int32_t>(channels);
  args.c_words = static_cast<int32_t>(c_words);
  args.batch = static_cast<int32_t>(batch);
  args.out_h = args.out_w = static_cast<int32_t>(side);
  args.stride_h = args.stride_w = 1;
  for (int64_t y = 0; y < kKernel; ++y) {
    for (int64_t x = 0; x < kKernel; ++x) {
      data->tap_words.push_back(static_cast<int32_t>(y * args.row_words + x * c_words));
    }
  }
  args.tap_words = data->tap_words.data();
  args.taps = static_cast<int32_t>(kTaps);
  args.planes = 1;
  std::vector<int8_t> weights = Random<int8_t>(channels * kTaps);
  for (int8_t& w : weights) w = w < 0 ? -1 : 1;
  data->weights.resize(static_cast<size_t>(kTaps * (c_words + kBdepthRepeatWords)));
  PackBdepthWeights(weights.data(), args.channels, args.taps, args.planes, nullptr,
                    data->weights.data());
  args.weights = data->weights.data();
  const int64_t pixels = side * side * batch;
  args.out_row = side * (floats_out ? channels : c_words);
  args.out_image = side * args.out_row;
  if (floats_out) {
    data->base.assign(static_cast<size_t>(channels), static_cast<int32_t>(kTaps));
    data->scale.assign(static_cast<size_t>(channels), 0.5f);
    data->bias.assign(static_cast<size_t>(channels), 0.25f);
    data->floats.resize(static_cast<size_t>(pixels * channels));
    data->expected_floats = data->floats;
    args.base = data->base.data();
    args.scale = data->scale.data();
    args.bias = data->bias.data();
    return data;
  }
  const int64_t plane_words = side * c_words;
  data->limits.resize(static_cast<size_t>(BdepthCountPlanes(args.taps) * plane_words));
  for (int64_t i = 0; i < plane_words; ++i) {
    for (int32_t c = 0; c < 64; ++c) {
      SetBdepthLimit(c % 10 - 1, args.taps, plane_words, c, data->limits.data() + i);
    }
  }
  args.limits = data->limits.data();
  data->bits.resize(static_cast<size_t>(pixels * c_words));
  data->expected_bits = data->bits;
  return data;
}

SuiteGroup DepthwiseGroup(int64_t side, int64_t channels, int64_t batch, bool floats_out, Isa isa,
                          bool only_best) {
  const std::string length = std::to_string(side);
  const std::string shape = length + "x" + length + "x" + std::to_string(channels) + " 3x3";
  return {floats_out ? "1 x 1 bit depthwise to float" : "1 x 1 bit depthwise", shape, batch, [=] {
            int count = 0;
            const BdepthKernel* table = BdepthKernels(&count);
            const std::shared_ptr<DepthwiseData> data =
                MakeDepthwise(side, channels, batch, floats_out);
            std::vector<SuiteCase> cases;
            for (const BdepthKernel& kernel : Chosen(table, count, isa, only_best)) {
              SuiteCase c;
              c.name = kernel.name;
              c.isa = kernel.isa;
              c.macs = static_cast<double>(batch * side * side * channels * kTaps);
              c.arithmetic = Ceiling::kBit;
              c.read_bytes = static_cast<double>(data->input.size() * 8);
              c.footprint = c.read_bytes +
                            static_cast<double>(data->bits.size() * 8 + data->floats.size() * 4);
              c.right = [data, kernel] {
                data->Run(SelectBdepth(Isa::kRef).run, data->expected_bits, data->expected_floats);
                data->Run(kernel.run, data->bits, data->floats);
                return data->bits == data->expected_bits && data->floats == data->expected_floats;
              };
              c.run = [data, kernel] { data->Run(kernel.run, data->bits, data->floats); };
              cases.push_back(std::move(c));
            }
            return cases;
          }};
}

}  // namespace

void AddDepthwiseGroups(Isa isa, bool only_best, const std::vector<int64_t>& batches,
                        std::vector<SuiteGroup>& groups) {
  for (const int64_t batch : batches) {
    for (const bool floats_out : {false, true}) {
      groups.push_back(DepthwiseGroup(56, 64, batch, floats_out, isa, only_best));
      groups.push_back(DepthwiseGroup(28, 128, batch, floats_out, isa, only_best));
    }
  }
}

}  // namespace bitmill
