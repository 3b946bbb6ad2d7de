// What surrounds the products of the suite: bytes that must be read are what counts. Images lie on
// boundaries of cache lines, as the buffers of a plan do.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "base/aligned_buffer.h"
#include "kernels/pack/pack_table.h"
#include "kernels/pool/pool_table.h"
#include "kernels/roofline/suite_parts.h"

namespace bitmill {
namespace {

struct ImageShape {
  int64_t side, channels;

  std::string Text() const {
    const std::string length = std::to_string(side);
    return length + "x" + length + "x" + std::to_string(channels);
  }
};

constexpr ImageShape kImages[] = {{56, 64}, {28, 128}, {14, 256}, {7, 512}};

struct PackData {
  SignPackArgs args = {};
  AlignedBuffer source;
  std::vector<float> thresholds;
  std::vector<uint8_t> output, expected;
};

SuiteGroup PackGroup(const ImageShape& shape, int64_t batch, bool planes, Isa isa, bool only_best) {
  return {planes ? "sign pack NCHW" : "sign pack NHWC", shape.Text(), batch, [=] {
            int count = 0;
            const PackKernel* table = PackKernels(&count);
            const auto data = std::make_shared<PackData>();
            const int64_t channels = shape.channels;
            const int64_t pixels = shape.side * shape.side * (planes ? 1 : batch);
            const int64_t images = planes ? batch : 1;
            const std::vector<int32_t> numbers = Random<int32_t>(images * pixels * channels);
            data->source = AlignedBuffer(static_cast<int64_t>(numbers.size() * sizeof(float)));
            std::copy(numbers.begin(), numbers.end(), data->source.as<float>());
            data->thresholds.assign(static_cast<size_t>(channels), 0.5f);
            data->output.resize(static_cast<size_t>(images * pixels * channels / 8));
            data->expected = data->output;
            SignPackArgs& args = data->args;
            args.src_pixel = planes ? 1 : channels;
            args.src_channel = planes ? pixels : 1;
            args.pixels = static_cast<int32_t>(pixels);
            args.channels = static_cast<int32_t>(channels);
            args.per_channel = 1;
            args.thresholds = data->thresholds.data();
            args.dst_pixel = channels / 8;
            const auto run_all = [data, images, pixels, channels](SignPackFn run,
                                                                  std::vector<uint8_t>& out) {
              for (int64_t n = 0; n < images; ++n) {
                SignPackArgs image = data->args;
                image.src = data->source.as<float>() + n * pixels * channels;
                image.dst = out.data() + n * pixels * channels / 8;
                run(image);
              }
            };
            std::vector<SuiteCase> cases;
            for (const PackKernel& kernel : Chosen(table, count, isa, only_best)) {
              SuiteCase c;
              c.name = kernel.name;
              c.isa = kernel.isa;
              c.read_bytes = static_cast<double>(data->source.size());
              c.footprint = c.read_bytes * 33 / 32;
              c.right = [data, kernel, run_all] {
                run_all(SelectPack(Isa::kRef).sign, data->expected);
                run_all(kernel.sign, data->output);
                return data->output == data->expected;
              };
              c.run = [data, kernel, run_all] { run_all(kernel.sign, data->output); };
              cases.push_back(std::move(c));
            }
            return cases;
          }};
}

// The same of numbers of 8 and 16 bits.
struct NarrowForm {
  const char* text;
  PackSource source;
  int64_t bytes;
  int16_t key;
};

constexpr NarrowForm kNarrow[] = {{"sign pack fp16 ", PackSource::kHalf, 2, 1},
                                  {"sign pack int8 ", PackSource::kInt8, 1, 1},
                                  {"sign pack uint8 ", PackSource::kUInt8, 1, 128}};

struct NarrowData {
  SignPackNarrowArgs args = {};
  AlignedBuffer source;
  std::vector<int16_t> keys;
  std::vector<uint8_t> output, expected;

  void Run(SignPackNarrowFn run, std::vector<uint8_t>& out) {
    args.dst = out.data();
    run(args);
  }
};

// One image.
SuiteGroup NarrowGroup(const ImageShape& shape, const NarrowForm& form, bool planes, Isa isa,
                       bool only_best) {
  return {std::string(form.text) + (planes ? "NCHW" : "NHWC"), shape.Text(), 1, [=] {
            int count = 0;
            const PackKernel* table = PackKernels(&count);
            const auto data = std::make_shared<NarrowData>();
            const int64_t pixels = shape.side * shape.side;
            const std::vector<uint8_t> bytes =
                Random<uint8_t>(pixels * shape.channels * form.bytes);
            data->source = AlignedBuffer(static_cast<int64_t>(bytes.size()));
            std::copy(bytes.begin(), bytes.end(), data->source.as<uint8_t>());
            data->keys.assign(static_cast<size_t>(shape.channels), form.key);
            data->output.resize(static_cast<size_t>(pixels * shape.channels / 8));
            data->expected = data->output;
            SignPackNarrowArgs& args = data->args;
            args.source = form.source;
            args.src = data->source.data();
            args.src_pixel = planes ? 1 : shape.channels;
            args.src_channel = planes ? pixels : 1;
            args.pixels = static_cast<int32_t>(pixels);
            args.channels = static_cast<int32_t>(shape.channels);
            args.per_channel = 1;
            args.keys = data->keys.data();
            args.dst_pixel = shape.channels / 8;
            std::vector<SuiteCase> cases;
            for (const PackKernel& kernel : Chosen(table, count, isa, only_best)) {
              SuiteCase c;
              c.name = kernel.name;
              c.isa = kernel.isa;
              c.read_bytes = static_cast<double>(bytes.size());
              c.footprint = static_cast<double>(bytes.size() + data->output.size());
              c.right = [data, kernel] {
                data->Run(SelectPack(Isa::kRef).sign_narrow, data->expected);
                data->Run(kernel.sign_narrow, data->output);
                return data->output == data->expected;
              };
              c.run = [data, kernel] { data->Run(kernel.sign_narrow, data->output); };
              cases.push_back(std::move(c));
            }
            return cases;
          }};
}

// Square windows without padding, stride 2.
struct PoolKind {
  const char* text;
  const char* window;
  int32_t size;
  bool codes;  // a byte a channel; otherwise bits

  PoolFn Of(const PoolKernel& kernel) const { return codes ? kernel.codes : kernel.bits; }
};

constexpr PoolKind kPoolBits = {"max pool bits", " 2x2", 2, false};
constexpr PoolKind kPoolBits3 = {"max pool bits", " 3x3", 3, false};
constexpr PoolKind kPoolCodes = {"max pool codes", " 2x2", 2, true};

struct PoolData {
  PoolArgs args = {};
  AlignedBuffer input, output, expected;
};

std::shared_ptr<PoolData> MakePool(const ImageShape& shape, int64_t batch, const PoolKind& kind) {
  auto data = std::make_shared<PoolData>();
  const int32_t side = static_cast<int32_t>(shape.side);
  const int32_t bytes = static_cast<int32_t>(kind.codes ? shape.channels : shape.channels / 8);
  const std::vector<uint8_t> input = Random<uint8_t>(batch * side * side * bytes);
  data->input = AlignedBuffer(input.size());
  std::memcpy(data->input.data(), input.data(), input.size());
  PoolArgs& args = data->args;
  args.input = data->input.as<uint8_t>();
  args.in_pixel = args.pixel_bytes = bytes;
  args.in_row = int64_t{side} * bytes;
  args.in_image = args.in_row * side;
  args.batch = static_cast<int32_t>(batch);
  args.in_h = args.in_w = side;
  args.out_h = args.out_w = (side - kind.size) / 2 + 1;
  args.kernel_h = args.kernel_w = kind.size;
  args.stride_h = args.stride_w = 2;
  args.dilation_h = args.dilation_w = 1;
  args.out_pixel = bytes;
  args.out_row = args.out_pixel * args.out_w;
  args.out_image = args.out_row * args.out_h;
  data->output = AlignedBuffer(static_cast<size_t>(args.out_image * batch));
  data->expected = AlignedBuffer(data->output.size());
  return data;
}

SuiteGroup PoolGroup(const ImageShape& shape, int64_t batch, const PoolKind& kind, Isa isa,
                     bool only_best) {
  return {kind.text, shape.Text() + kind.window, batch, [=] {
            int count = 0;
            const PoolKernel* table = PoolKernels(&count);
            const std::shared_ptr<PoolData> data = MakePool(shape, batch, kind);
            const PoolArgs& args = data->args;
            // Pixels of some window.
            const int64_t side = (args.out_h - 1) * 2 + kind.size;
            std::vector<SuiteCase> cases;
            for (const PoolKernel& kernel : Chosen(table, count, isa, only_best)) {
              SuiteCase c;
              c.name = kernel.name;
              c.isa = kernel.isa;
              c.read_bytes = static_cast<double>(batch * side * side * args.in_pixel);
              c.footprint = static_cast<double>(data->input.size() + data->output.size());
              c.right = [data, kind, kernel] {
                data->args.output = data->expected.as<uint8_t>();
                kind.Of(SelectPool(Isa::kRef))(data->args);
                data->args.output = data->output.as<uint8_t>();
                kind.Of(kernel)(data->args);
                return std::memcmp(data->output.data(), data->expected.data(),
                                   data->output.size()) == 0;
              };
              c.run = [data, run = kind.Of(kernel)] { run(data->args); };
              cases.push_back(std::move(c));
            }
            return cases;
          }};
}

}  // namespace

void AddHelperGroups(Isa isa, bool only_best, const std::vector<int64_t>& batches,
                     std::vector<SuiteGroup>& groups) {
  for (const ImageShape& shape : {kImages[0], kImages[2]}) {
    for (const NarrowForm& form : kNarrow) {
      for (const bool planes : {false, true}) {
        groups.push_back(NarrowGroup(shape, form, planes, isa, only_best));
      }
    }
  }
  for (const int64_t batch : batches) {
    for (const ImageShape& shape : kImages) {
      for (const bool planes : {false, true}) {
        groups.push_back(PackGroup(shape, batch, planes, isa, only_best));
      }
      groups.push_back(PoolGroup(shape, batch, kPoolBits, isa, only_best));
    }
    groups.push_back(PoolGroup(kImages[0], batch, kPoolBits3, isa, only_best));
    groups.push_back(PoolGroup(kImages[0], batch, kPoolCodes, isa, only_best));
  }
}

}  // namespace bitmill
