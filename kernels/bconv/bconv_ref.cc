// The oracle of every other implementation: plain loops in the order of the formula.
#include "kernels/bconv/bconv_finish.h"
#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

void BconvRef(const BconvArgs& args);
bool BconvFinishesRef(const BconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;

// Products that differ in sign, of one output channel and one window.
int32_t CountDifferences(const BconvArgs& args, const uint64_t* window, int32_t channel) {
  const BconvGroup group =
      BconvGroupOf(args, args.sparse != nullptr ? channel / args.sparse->group_channels : 0);
  const int64_t lane = channel - group.channel;
  const int64_t tap_stride = group.c_words * args.planes * kLanes;
  const uint64_t* weights = group.weights + lane / kLanes * group.block_words + lane % kLanes;
  int32_t count = 0;
  for (int64_t t = 0; t < group.taps; ++t) {
    for (int64_t w = 0; w < group.c_words; ++w) {
      const uint64_t a = window[group.tap_words[t] + w];
      const uint64_t* b = weights + t * tap_stride + w * args.planes * kLanes;
      const uint64_t differ = args.planes == 2 ? b[0] & (a ^ b[kLanes]) : a ^ b[0];
      count += __builtin_popcountll(differ);
    }
  }
  return count;
}

float Clip(float x, float a, float b) {
  const float low = x < a ? a : x;
  return b < low ? b : low;
}

float Apply(const BconvFinishOp& op, float x, int64_t channel, int64_t out) {
  if (op.map != nullptr) return x + op.map[out + channel];
  const float a = op.a != nullptr ? op.a[channel] : 0.0F;
  switch (op.op) {
    case FmapOp::kAdd:
      return x + a;
    case FmapOp::kSub:
      return x - a;
    case FmapOp::kMul:
      return x * a;
    case FmapOp::kDiv:
      return x / a;
    case FmapOp::kClip:
      return Clip(x, a, op.b != nullptr ? op.b[channel] : 0.0F);
    case FmapOp::kRelu:
      return x < 0.0F ? 0.0F : x;
    case FmapOp::kLeakyRelu:
      return x < 0.0F ? a * x : x;
    case FmapOp::kHardTanh:
      return Clip(x, -1.0F, 1.0F);
    default:
      return x;
  }
}

// The value to store of a float output; sets its sign.
float Finish(const BconvFinish& finish, float value, int64_t channel, int64_t out, uint8_t* signs) {
  for (int32_t i = 0; i < finish.count; ++i) value = Apply(finish.ops[i], value, channel, out);
  if (signs == nullptr) return value;
  uint8_t* const byte = signs + channel / 8;
  if (channel % 8 == 0) *byte = 0;
  const uint32_t inverted = finish.inverted[channel / 16] >> (channel % 16) & 1u;
  const uint32_t below = !(value >= finish.thresholds[channel]);
  *byte = static_cast<uint8_t>(*byte | (below ^ inverted) << (channel % 8));
  return value;
}

void StorePixel(const BconvArgs& args, const uint64_t* window, int64_t table_row, int64_t out,
                uint8_t* signs) {
  for (int32_t o = 0; o < args.out_channels; ++o) {
    const int32_t x = CountDifferences(args, window, o);
    if (args.out_bits != nullptr) {
      uint8_t* byte = args.out_bits + out + o / 8;
      if (o % 8 == 0) *byte = 0;
      if (x > args.limits[table_row + o]) *byte = static_cast<uint8_t>(*byte | 1u << (o % 8));
      continue;
    }
    const auto acc = static_cast<int32_t>(static_cast<uint32_t>(args.base[table_row + o]) -
                                          2U * static_cast<uint32_t>(x));
    if (args.out_int32 != nullptr) {
      args.out_int32[out + o] = acc;
    } else {
      const float scaled = static_cast<float>(acc) * args.scale[o];
      const float value = scaled + args.bias[o];
      args.out_float[out + o] =
          args.finish == nullptr ? value : Finish(*args.finish, value, o, out, signs);
    }
  }
}

}  // namespace

bool BconvFinishesRef(const BconvArgs& /*args*/) { return true; }

void BconvRef(const BconvArgs& args) {
  const int64_t padded_channels = (int64_t{args.out_channels} + kLanes - 1) / kLanes * kLanes;
  for (int32_t n = 0; n < args.batch; ++n) {
    for (int32_t y = 0; y < args.out_h; ++y) {
      for (int32_t x = 0; x < args.out_w; ++x) {
        const uint64_t* window = args.input + n * args.image_words +
                                 int64_t{y} * args.stride_h * args.row_words +
                                 int64_t{x} * args.stride_w * args.pixel_words;
        int64_t table_class = 0;
        if (args.row_class != nullptr) {
          table_class = int64_t{args.row_class[y]} * args.col_classes + args.col_class[x];
        }
        uint8_t* signs = nullptr;
        if (const BconvFinish* const finish = args.finish; finish != nullptr && finish->signs) {
          signs = finish->signs + n * finish->sign_image + y * finish->sign_row +
                  x * finish->sign_pixel;
        }
        StorePixel(args, window, table_class * padded_channels,
                   n * args.out_image + y * args.out_row + x * args.out_pixel, signs);
      }
    }
  }
}

}  // namespace bitmill
