#include "kernels/roofline/suite_cases.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/huge_pages.h"
#include "kernels/bconv/bconv_table.h"
#include "kernels/qconv/qconv_table.h"
#include "kernels/roofline/prepared_call.h"
#include "kernels/roofline/suite_parts.h"

namespace bitmill {
namespace {

// A convolution over a padded image, or a dense product: rows are then the pixels of one column.
struct LayerShape {
  int64_t side = 0;  // 0: dense
  int64_t rows = 1;  // of a dense product
  int64_t channels_in = 0, channels_out = 0;

  int64_t kernel() const { return side > 0 ? 3 : 1; }
  int64_t taps() const { return kernel() * kernel(); }
  int64_t out_h() const { return side > 0 ? side : rows; }
  int64_t out_w() const { return side > 0 ? side : 1; }
  int64_t in_h() const { return out_h() + kernel() - 1; }
  int64_t in_w() const { return out_w() + kernel() - 1; }
  double macs(int64_t batch) const {
    return static_cast<double>(batch * out_h() * out_w() * channels_out * channels_in * taps());
  }
  std::string Text() const {
    const std::string in = std::to_string(channels_in);
    const std::string out = std::to_string(channels_out);
    if (side > 0) return std::to_string(side) + "x" + std::to_string(side) + "x" + in + " 3x3";
    return rows > 1 ? std::to_string(rows) + "x" + in + "x" + out : in + "x" + out;
  }
};

const LayerShape kConvs[] = {
    {56, 1, 64, 64}, {28, 1, 128, 128}, {14, 1, 256, 256}, {7, 1, 512, 512}};
const LayerShape kDenses[] = {{0, 1024, 1024, 1024}, {0, 1, 4096, 4096}, {0, 1, 4096, 11008}};
// 256 MiB of 2-bit weights, more than a cache holds.
const LayerShape kLargeDense = {0, 1, 16384, 65536};

// Rows whose outputs are compared: the reference is too slow for all of them.
std::vector<int64_t> SampleRows(int64_t rows) {
  std::vector<int64_t> sample = {0, rows / 2, rows - 1};
  sample.erase(std::unique(sample.begin(), sample.end()), sample.end());
  return sample;
}

// Weights where a compiled model keeps them (backends/cpu/plan_constants.h).
template <typename T>
std::shared_ptr<T> Placed(const std::vector<T>& values) {
  const size_t bytes = values.size() * sizeof(T);
  std::shared_ptr<std::byte> memory = AllocateInHugePages(static_cast<int64_t>(bytes));
  std::memcpy(memory.get(), values.data(), bytes);
  T* const data = reinterpret_cast<T*>(memory.get());
  return {std::move(memory), data};
}

struct BconvData {
  LayerShape shape;
  BconvArgs args = {};
  std::vector<uint64_t> input;
  std::shared_ptr<uint64_t> weights;
  size_t weight_bytes = 0;
  std::vector<int32_t> tap_words, limits;
  std::vector<uint8_t> output, expected;
};

std::shared_ptr<BconvData> MakeBconv(const LayerShape& shape, int64_t batch, int32_t planes) {
  auto data = std::make_shared<BconvData>();
  data->shape = shape;
  const int64_t c_words = shape.channels_in / 64;
  const int64_t row_words = shape.in_w() * c_words;
  data->input = Random<uint64_t>(batch * shape.in_h() * row_words);
  const auto weights = Random<uint64_t>(PackedBconvWords(
      static_cast<int32_t>(shape.channels_out), static_cast<int32_t>(shape.channels_in),
      static_cast<int32_t>(shape.taps()), planes));
  data->weights = Placed(weights);
  data->weight_bytes = weights.size() * sizeof(uint64_t);
  for (int64_t y = 0; y < shape.kernel(); ++y) {
    for (int64_t x = 0; x < shape.kernel(); ++x) {
      data->tap_words.push_back(static_cast<int32_t>(y * row_words + x * c_words));
    }
  }
  const int64_t products = shape.channels_in * shape.taps();
  data->limits.assign(static_cast<size_t>(shape.channels_out + 7) / 8 * 8,
                      static_cast<int32_t>(planes == 2 ? products / 4 : products / 2));
  BconvArgs& args = data->args;
  args.input = data->input.data();
  args.image_words = shape.in_h() * row_words;
  args.row_words = row_words;
  args.pixel_words = args.c_words = static_cast<int32_t>(c_words);
  args.batch = static_cast<int32_t>(batch);
  args.out_h = static_cast<int32_t>(shape.out_h());
  args.out_w = static_cast<int32_t>(shape.out_w());
  args.out_channels = static_cast<int32_t>(shape.channels_out);
  args.stride_h = args.stride_w = 1;
  args.tap_words = data->tap_words.data();
  args.taps = static_cast<int32_t>(shape.taps());
  args.weights = data->weights.get();
  args.planes = planes;
  args.limits = data->limits.data();
  args.out_pixel = (shape.channels_out + 7) / 8;
  args.out_row = args.out_pixel * args.out_w;
  args.out_image = args.out_row * args.out_h;
  data->output.resize(static_cast<size_t>(args.out_image * batch));
  data->expected.resize(static_cast<size_t>(args.out_row));
  args.out_bits = data->output.data();
  return data;
}

bool BconvRight(BconvData& data, const BconvCall& call) {
  std::fill(data.output.begin(), data.output.end(), uint8_t{0xa5});
  call.Run();
  const int64_t image = data.args.batch - 1;
  for (const int64_t row : SampleRows(data.args.out_h)) {
    BconvArgs args = data.args;
    args.input += image * args.image_words + row * args.row_words;
    args.batch = args.out_h = 1;
    args.out_bits = data.expected.data();
    SelectBconv(Isa::kRef).run(args);
    const uint8_t* got = data.output.data() + image * args.out_image + row * args.out_row;
    if (std::memcmp(got, data.expected.data(), data.expected.size()) != 0) return false;
  }
  return true;
}

SuiteGroup BconvGroup(const LayerShape& shape, int64_t batch, int32_t planes, Isa isa,
                      bool only_best) {
  const std::string kind = std::string(planes == 2 ? "ternary x 1 bit " : "1 x 1 bit ") +
                           (shape.side > 0 ? "conv" : "dense");
  return {kind, shape.Text(), batch, [=] {
            int count = 0;
            const BconvKernel* table = BconvKernels(&count);
            const std::shared_ptr<BconvData> data = MakeBconv(shape, batch, planes);
            std::vector<SuiteCase> cases;
            for (const BconvKernel& kernel : Chosen(table, count, isa, only_best)) {
              SuiteCase c;
              c.name = kernel.name;
              c.isa = kernel.isa;
              c.arithmetic = planes == 2 ? Ceiling::kTernaryBit : Ceiling::kBit;
              c.macs = shape.macs(batch);
              c.read_bytes = static_cast<double>(data->weight_bytes);
              c.footprint = c.read_bytes + static_cast<double>(data->input.size() * 8);
              const auto call = std::make_shared<const BconvCall>(kernel, data->args);
              c.right = [data, call] { return BconvRight(*data, *call); };
              c.run = [data, call] { call->Run(); };
              cases.push_back(std::move(c));
            }
            return cases;
          }};
}

struct QconvData {
  LayerShape shape;
  QconvArgs args = {};
  std::vector<uint8_t> input;
  std::shared_ptr<uint8_t> weights;
  size_t weight_bytes = 0;
  std::vector<int32_t> step_bytes, base, output, expected;
};

// Weights and activations of a low-bit layer.
struct LowBits {
  const char* text;  // "ternary x int8"
  QconvWeights kind;
  bool ternary;
  int32_t levels;  // of activations
  Ceiling arithmetic;
  bool two_of_four = false;  // of neighbouring weights are zero; products with them count
};
constexpr LowBits kTernaryBytes = {"ternary x int8", QconvWeights::k2Bit, true, 256,
                                   Ceiling::kLowBitInt8};
constexpr LowBits kPrunedBytes = {
    "2:4 ternary x int8", QconvWeights::k2Bit, true, 256, Ceiling::kLowBitInt8, true};
constexpr LowBits kTwoBits = {"2 x 2 bit", QconvWeights::k2Bit, false, 4, Ceiling::kTwoBit};
constexpr LowBits kFourBits = {"4 x 4 bit", QconvWeights::k4Bit, false, 16, Ceiling::kLowBitInt8};

std::shared_ptr<QconvData> MakeQconv(const LayerShape& shape, int64_t batch, const LowBits& bits) {
  auto data = std::make_shared<QconvData>();
  data->shape = shape;
  const int64_t row_bytes = shape.in_w() * shape.channels_in;
  data->input = Random<uint8_t>(batch * shape.in_h() * row_bytes);
  for (uint8_t& code : data->input) code = static_cast<uint8_t>(code % bits.levels);
  std::vector<uint8_t> weights = Random<uint8_t>(PackedQconvBytes(
      bits.kind, static_cast<int32_t>(shape.channels_out), static_cast<int32_t>(shape.channels_in),
      static_cast<int32_t>(shape.taps())));
  // Codes of 0 (-2) become 1 (-1).
  for (uint8_t& codes : weights) {
    if (!bits.ternary) break;
    codes = static_cast<uint8_t>(codes | (~(codes | codes >> 1) & 0x55));
  }
  // A lane has four neighbours in as many bytes, each of four steps.
  for (size_t lane = 0; bits.two_of_four && lane < weights.size(); lane += 4) {
    constexpr uint8_t kZeros = 0xaa;
    const size_t first = weights[lane] % 4;
    for (const size_t i : {first, first + 1}) weights[lane + i % 4] = kZeros;
  }
  data->weights = Placed(weights);
  data->weight_bytes = weights.size();
  for (int64_t y = 0; y < shape.kernel(); ++y) {
    for (int64_t x = 0; x < shape.kernel(); ++x) {
      for (int64_t c = 0; c < shape.channels_in; c += 4) {
        data->step_bytes.push_back(static_cast<int32_t>(y * row_bytes + x * shape.channels_in + c));
      }
    }
  }
  data->base.assign(static_cast<size_t>(shape.channels_out + 7) / 8 * 8, -100);
  QconvArgs& args = data->args;
  args.input = data->input.data();
  args.image_bytes = shape.in_h() * row_bytes;
  args.row_bytes = row_bytes;
  args.pixel_bytes = static_cast<int32_t>(shape.channels_in);
  args.batch = static_cast<int32_t>(batch);
  args.out_h = static_cast<int32_t>(shape.out_h());
  args.out_w = static_cast<int32_t>(shape.out_w());
  args.out_channels = static_cast<int32_t>(shape.channels_out);
  args.stride_h = args.stride_w = 1;
  args.step_bytes = data->step_bytes.data();
  args.steps = static_cast<int32_t>(data->step_bytes.size());
  args.kind = bits.kind;
  args.ternary = bits.ternary;
  args.weights = data->weights.get();
  args.levels = bits.levels;
  args.base = data->base.data();
  args.out_pixel = shape.channels_out;
  args.out_row = args.out_pixel * args.out_w;
  args.out_image = args.out_row * args.out_h;
  data->output.resize(static_cast<size_t>(args.out_image * batch));
  data->expected.resize(static_cast<size_t>(args.out_row));
  args.out_int32 = data->output.data();
  return data;
}

bool QconvRight(QconvData& data, const QconvCall& call) {
  std::fill(data.output.begin(), data.output.end(), -1);
  call.Run();
  const int64_t image = data.args.batch - 1;
  for (const int64_t row : SampleRows(data.args.out_h)) {
    QconvArgs args = data.args;
    args.input += image * args.image_bytes + row * args.row_bytes;
    args.batch = args.out_h = 1;
    args.out_int32 = data.expected.data();
    SelectQconv(Isa::kRef).run(args);
    const int32_t* got = data.output.data() + image * args.out_image + row * args.out_row;
    if (!std::equal(data.expected.begin(), data.expected.end(), got)) return false;
  }
  return true;
}

SuiteGroup QconvGroup(const LayerShape& shape, int64_t batch, const LowBits& bits, Isa isa,
                      bool only_best) {
  return {std::string(bits.text) + (shape.side > 0 ? " conv" : " dense"), shape.Text(), batch, [=] {
            int count = 0;
            const QconvKernel* table = QconvKernels(&count);
            const std::shared_ptr<QconvData> data = MakeQconv(shape, batch, bits);
            std::vector<SuiteCase> cases;
            for (const QconvKernel& kernel : Chosen(table, count, isa, only_best)) {
              SuiteCase c;
              c.name = kernel.name;
              c.isa = kernel.isa;
              c.arithmetic = bits.arithmetic;
              c.macs = shape.macs(batch);
              c.read_bytes = static_cast<double>(data->weight_bytes);
              c.footprint = c.read_bytes + static_cast<double>(data->input.size());
              const auto call = std::make_shared<const QconvCall>(kernel, data->args);
              c.right = [data, call] { return QconvRight(*data, *call); };
              c.run = [data, call] { call->Run(); };
              cases.push_back(std::move(c));
            }
            return cases;
          }};
}

}  // namespace

std::vector<SuiteGroup> SuiteGroups(Isa isa, bool only_best, const std::vector<int64_t>& batches) {
  std::vector<SuiteGroup> groups;
  for (const int32_t planes : {1, 2}) {
    for (const int64_t batch : batches) {
      for (const LayerShape& shape : kConvs) {
        groups.push_back(BconvGroup(shape, batch, planes, isa, only_best));
      }
    }
    for (const LayerShape& shape : kDenses) {
      groups.push_back(BconvGroup(shape, 1, planes, isa, only_best));
    }
  }
  for (const int64_t batch : batches) {
    for (const LayerShape& shape : kConvs) {
      groups.push_back(QconvGroup(shape, batch, kTernaryBytes, isa, only_best));
      groups.push_back(QconvGroup(shape, batch, kTwoBits, isa, only_best));
      groups.push_back(QconvGroup(shape, batch, kPrunedBytes, isa, only_best));
    }
  }
  for (const LayerShape& shape : kDenses) {
    groups.push_back(QconvGroup(shape, 1, kTernaryBytes, isa, only_best));
  }
  groups.push_back(QconvGroup(kLargeDense, 1, kTernaryBytes, isa, only_best));
  groups.push_back(QconvGroup(kDenses[0], 1, kTwoBits, isa, only_best));
  groups.push_back(QconvGroup(kDenses[0], 1, kFourBits, isa, only_best));
  AddDepthwiseGroups(isa, only_best, batches, groups);
  AddHelperGroups(isa, only_best, batches, groups);
  return groups;
}

}  // namespace bitmill
