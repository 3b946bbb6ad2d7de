#include "kernels/roofline/sparse_problems.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>

#include "kernels/bconv/bconv_table.h"
#include "kernels/bconv/sparse_bconv.h"
#include "kernels/qconv/qconv_table.h"
#include "kernels/qconv/sparse_qconv.h"
#include "kernels/roofline/prepared_call.h"

namespace bitmill {
namespace {

constexpr uint32_t kSeed = 21;

struct Layer {
  int32_t height, width, kernel, channels;  // as many channels out as in
  int32_t taps() const { return kernel * kernel; }
  int32_t in_height() const { return height + kernel - 1; }
  int32_t in_width() const { return width + kernel - 1; }
  bool one_pixel() const { return height * width == 1; }
  std::string Text() const {
    const std::string c = std::to_string(channels);
    if (one_pixel()) return c + "x" + c;
    return std::to_string(height) + "x" + std::to_string(width) + "x" + c + " 3x3";
  }
};

// The second: a line at a time, as where sums wait in scratch for the rest of a layer.
constexpr Layer kLayers[] = {{14, 14, 3, 256}, {1, 14, 3, 256}, {1, 1, 1, 4096}};

// Random weights w[o][c][taps] of `low` to `high` (without 0: not 0), of which a part is left: of
// each group of outputs as many runs of `run` channels of a tap as `density` says.
std::vector<int8_t> PrunedWeights(const Layer& layer, int32_t group_channels, int32_t run,
                                  double density, int32_t low, int32_t high, bool zeros) {
  std::mt19937 random(kSeed);
  const size_t taps = static_cast<size_t>(layer.taps());
  const auto channels = static_cast<size_t>(layer.channels);
  std::vector<int8_t> weights(channels * channels * taps);
  for (int8_t& w : weights) {
    do {
      w = static_cast<int8_t>(low + static_cast<int32_t>(random() % (high - low + 1)));
    } while (w == 0 && !zeros);
  }
  std::vector<size_t> runs(channels / static_cast<size_t>(run) * taps);
  for (size_t i = 0; i < runs.size(); ++i) runs[i] = i;
  const auto left = static_cast<size_t>(std::lround(density * static_cast<double>(runs.size())));
  for (size_t first = 0; first < channels; first += static_cast<size_t>(group_channels)) {
    std::shuffle(runs.begin(), runs.end(), random);
    const size_t end = std::min(first + static_cast<size_t>(group_channels), channels);
    for (size_t i = left; i < runs.size(); ++i) {
      for (size_t o = first; o < end; ++o) {
        for (size_t c = 0; c < static_cast<size_t>(run); ++c) {
          const size_t channel = runs[i] / taps * static_cast<size_t>(run) + c;
          weights[(o * channels + channel) * taps + runs[i] % taps] = 0;
        }
      }
    }
  }
  return weights;
}

template <typename T>
std::vector<T> Random(int64_t count) {
  std::mt19937_64 random(kSeed);
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = static_cast<T>(random());
  return values;
}

template <typename Args>
void FillShape(const Layer& layer, Args& args) {
  args.batch = 1;
  args.out_h = layer.height;
  args.out_w = layer.width;
  args.out_channels = layer.channels;
  args.stride_h = args.stride_w = 1;
}

struct BconvData {
  BconvArgs dense = {};
  SparseBconv sparse;
  std::vector<uint64_t> input, weights;
  std::vector<int32_t> tap_words, limits;
  std::vector<uint8_t> output, expected;
};

std::shared_ptr<BconvData> MakeBconv(const Layer& layer, int32_t group_channels, double density,
                                     bool zeros) {
  auto data = std::make_shared<BconvData>();
  const int32_t c_words = layer.channels / 64;
  const std::vector<int8_t> weights =
      PrunedWeights(layer, group_channels, 64, density, -1, 1, zeros);
  data->weights.resize(
      static_cast<size_t>(PackedBconvWords(layer.channels, layer.channels, layer.taps(), 2)));
  PackBconvWeights(weights.data(), layer.channels, layer.channels, layer.taps(), 2, nullptr,
                   data->weights.data());
  data->input = Random<uint64_t>(int64_t{layer.in_height()} * layer.in_width() * c_words);
  for (int32_t y = 0; y < layer.kernel; ++y) {
    for (int32_t x = 0; x < layer.kernel; ++x) {
      data->tap_words.push_back((y * layer.in_width() + x) * c_words);
    }
  }
  BconvArgs& args = data->dense;
  FillShape(layer, args);
  args.input = data->input.data();
  args.pixel_words = args.c_words = c_words;
  args.row_words = int64_t{layer.in_width()} * c_words;
  args.image_words = args.row_words * layer.in_height();
  args.tap_words = data->tap_words.data();
  args.taps = layer.taps();
  args.weights = data->weights.data();
  args.planes = 2;
  const double products = density * (zeros ? 2.0 / 3 : 1.0) * layer.channels * layer.taps();
  data->limits.assign(static_cast<size_t>(layer.channels), static_cast<int32_t>(products / 2));
  args.limits = data->limits.data();
  args.out_pixel = layer.channels / 8;
  args.out_row = args.out_pixel * layer.width;
  args.out_image = args.out_row * layer.height;
  data->output.resize(static_cast<size_t>(args.out_image));
  data->expected = data->output;
  args.out_bits = data->output.data();
  data->sparse = MakeSparseBconv(args, layer.channels, group_channels);
  return data;
}

SparseProblem BconvProblem(const BconvKernel& kernel, const Layer& layer, bool zeros,
                           int32_t group_channels, double density) {
  const std::shared_ptr<BconvData> data = MakeBconv(layer, group_channels, density, zeros);
  const auto dense = std::make_shared<BconvCall>(kernel, data->dense);
  const auto sparse = std::make_shared<BconvCall>(kernel, data->sparse.Applied(data->dense));
  SparseProblem problem;
  problem.dense = [data, dense] { dense->Run(); };
  problem.sparse = [data, sparse] { sparse->Run(); };
  problem.right = [data, problem] {
    BconvArgs reference = data->dense;
    reference.out_bits = data->expected.data();
    SelectBconv(Isa::kRef).run(reference);
    problem.dense();
    if (data->output != data->expected) return false;
    std::fill(data->output.begin(), data->output.end(), uint8_t{0xa5});
    problem.sparse();
    return data->output == data->expected;
  };
  return problem;
}

struct QconvData {
  QconvArgs dense = {};
  SparseQconv sparse;
  std::vector<uint8_t> input, weights;
  std::vector<int32_t> step_bytes, base, output, expected;
};

std::shared_ptr<QconvData> MakeQconv(const Layer& layer, QconvWeights kind, int32_t group_channels,
                                     double density) {
  constexpr int32_t kStepChannels = 4;
  const bool ternary = kind == QconvWeights::k2Bit;
  const int32_t run = ternary ? 4 * kStepChannels : kStepChannels;  // a unit
  auto data = std::make_shared<QconvData>();
  const std::vector<int8_t> weights = PrunedWeights(layer, group_channels, run, density,
                                                    ternary ? -1 : -127, ternary ? 1 : 127, true);
  const QconvFilterView filter = {weights.data(), kind, layer.channels, layer.channels,
                                  layer.taps()};
  data->weights.resize(
      static_cast<size_t>(PackedQconvBytes(kind, layer.channels, layer.channels, layer.taps())));
  PackQconvWeights(weights.data(), kind, layer.channels, layer.channels, layer.taps(),
                   data->weights.data());
  data->sparse = MakeSparseQconv(filter, QconvOccupancy(filter), group_channels);
  QconvArgs& args = data->dense;
  FillShape(layer, args);
  args.pixel_bytes = layer.channels;
  args.row_bytes = int64_t{layer.in_width()} * layer.channels;
  args.image_bytes = args.row_bytes * layer.in_height();
  data->input = Random<uint8_t>(args.image_bytes);
  args.input = data->input.data();
  for (int32_t y = 0; y < layer.kernel; ++y) {
    for (int32_t x = 0; x < layer.kernel; ++x) {
      for (int32_t c = 0; c < layer.channels; c += kStepChannels) {
        data->step_bytes.push_back((y * layer.in_width() + x) * layer.channels + c);
      }
    }
  }
  args.step_bytes = data->step_bytes.data();
  args.steps = static_cast<int32_t>(data->step_bytes.size());
  args.kind = kind;
  args.ternary = ternary;
  args.weights = data->weights.data();
  args.levels = 256;
  data->base.assign(static_cast<size_t>(layer.channels), -100);
  args.base = data->base.data();
  args.out_pixel = layer.channels;
  args.out_row = args.out_pixel * layer.width;
  args.out_image = args.out_row * layer.height;
  data->output.resize(static_cast<size_t>(args.out_image));
  data->expected = data->output;
  args.out_int32 = data->output.data();
  return data;
}

SparseProblem QconvProblem(const QconvKernel& kernel, const Layer& layer, QconvWeights kind,
                           int32_t group_channels, double density) {
  const std::shared_ptr<QconvData> data = MakeQconv(layer, kind, group_channels, density);
  SparseProblem problem;
  const auto dense = std::make_shared<QconvCall>(kernel, data->dense);
  const auto sparse = std::make_shared<QconvCall>(kernel, data->sparse.Applied(data->dense));
  problem.dense = [data, dense] { dense->Run(); };
  problem.sparse = [data, sparse] { sparse->Run(); };
  problem.right = [data, problem] {
    // The reference is too slow for all lines.
    QconvArgs reference = data->dense;
    reference.out_h = 1;
    reference.out_int32 = data->expected.data();
    SelectQconv(Isa::kRef).run(reference);
    const auto end = data->expected.begin() + reference.out_row;
    problem.dense();
    if (!std::equal(data->expected.begin(), end, data->output.begin())) return false;
    const std::vector<int32_t> all = data->output;
    std::fill(data->output.begin(), data->output.end(), -1);
    problem.sparse();
    return data->output == all;
  };
  return problem;
}

// Adds a case for each form of the kernels to run, best kernel first.
template <typename Kernel, typename Make>
void AddCases(const Kernel* table, int count, Isa isa, bool only_best, const Layer& layer,
              const std::string& kind, Make make, std::vector<SparseCase>& cases) {
  for (int i = 0; i < count; ++i) {
    const Kernel kernel = table[i];
    if (!IsaAllows(isa, kernel.isa) || kernel.isa == Isa::kRef || kernel.sparse.count == 0) {
      continue;
    }
    for (const SparseForm& form : kernel.sparse) {
      SparseCase& c = cases.emplace_back();
      c.name = kernel.name;
      c.kind = "sparse " + kind + (layer.one_pixel() ? " dense" : " conv");
      c.shape = layer.Text();
      c.isa = kernel.isa;
      c.form = form;
      c.few_pixels = layer.height == 1;
      c.make = [=](double density) { return make(kernel, form.group_channels, density); };
    }
    if (only_best) break;
  }
}

}  // namespace

std::vector<SparseCase> SparseCases(Isa isa, bool only_best) {
  std::vector<SparseCase> cases;
  int count = 0;
  for (const Layer& layer : kLayers) {
    const BconvKernel* const bconv = BconvKernels(&count);
    for (const bool zeros : {false, true}) {
      const auto make = [=](const BconvKernel& kernel, int32_t group_channels, double density) {
        return BconvProblem(kernel, layer, zeros, group_channels, density);
      };
      AddCases(bconv, count, isa, only_best, layer, zeros ? "ternary x 1 bit" : "1 x 1 bit", make,
               cases);
    }
    const QconvKernel* const qconv = QconvKernels(&count);
    for (const QconvWeights kind : {QconvWeights::k2Bit, QconvWeights::k8Bit}) {
      const auto make = [=](const QconvKernel& kernel, int32_t group_channels, double density) {
        return QconvProblem(kernel, layer, kind, group_channels, density);
      };
      AddCases(qconv, count, isa, only_best, layer,
               kind == QconvWeights::k2Bit ? "ternary x int8" : "int8 x int8", make, cases);
    }
  }
  return cases;
}

}  // namespace bitmill
