#include "kernels/qconv/qconv_lookup.h"

#include <string.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kBlockLanes = 8;
constexpr int64_t kStepCodes = 4;
constexpr QconvLookupForm kByteForm = {64, 6};  // of vpermb

int64_t CodeBits(QconvWeights kind) { return kind == QconvWeights::k1Bit ? 1 : 2; }

int64_t CodesEach(const QconvArgs& args, const QconvLookupForm& form) {
  return form.index_bits / CodeBits(args.kind);
}

// The indices of one output channel, from its first lookup on, `stride` bytes apart.
void PrepareChannel(const QconvArgs& args, const QconvLookupForm& form, int64_t channel,
                    int64_t stride, uint8_t* indices) {
  const QconvBlock block = QconvBlockOf(args, channel / kBlockLanes);
  const int64_t bits = CodeBits(args.kind);
  const int64_t unit_steps = QconvUnitSteps(args.kind);
  const int64_t codes_each = CodesEach(args, form);
  for (int64_t k = 0; k < args.steps * kStepCodes; ++k) {
    const int64_t step = k / kStepCodes;
    const uint8_t byte = block.units[step / unit_steps * block.unit_stride +
                                     channel % kBlockLanes * kStepCodes + k % kStepCodes];
    const int64_t code = byte >> (step % unit_steps * bits) & ((1 << bits) - 1);
    uint8_t* const index = indices + k / codes_each * stride;
    *index = static_cast<uint8_t>(*index | code << (k % codes_each * bits));
  }
}

}  // namespace

int64_t QconvLookupCount(const QconvArgs& args, const QconvLookupForm& form) {
  const int64_t each = CodesEach(args, form);
  return (args.steps * kStepCodes + each - 1) / each;
}

int64_t QconvLookupGroup(int64_t vectors) { return vectors >= 2 ? 2 : 1; }

int64_t QconvLookupBytes(const QconvArgs& args, const QconvLookupForm& form) {
  const int64_t vectors = (args.out_channels + form.lanes - 1) / form.lanes;
  return vectors * QconvLookupCount(args, form) * form.lanes;
}

void PrepareQconvLookup(const QconvArgs& args, const QconvLookupForm& form, uint8_t* indices) {
  memset(indices, 0, static_cast<size_t>(QconvLookupBytes(args, form)));
  const int64_t vectors = (args.out_channels + form.lanes - 1) / form.lanes;
  const int64_t lookups = QconvLookupCount(args, form);
  const int64_t half = form.lanes / 2;
  for (int64_t v = 0; v < vectors;) {
    const int64_t size = QconvLookupGroup(vectors - v);
    const int64_t first = v * form.lanes;
    const int64_t end = first + size * form.lanes;
    for (int64_t c = first; c < end && c < args.out_channels; ++c) {
      const int64_t lane = c % form.lanes;
      const int64_t byte = lane < half ? 2 * lane : 2 * (lane - half) + 1;
      PrepareChannel(args, form, c, size * form.lanes,
                     indices + (c - first) / form.lanes * form.lanes + byte);
    }
    indices += size * lookups * form.lanes;
    v += size;
  }
}

bool QconvTakesTables(const QconvArgs& args) {
  return args.kind == QconvWeights::k1Bit || (args.kind == QconvWeights::k2Bit && args.levels <= 4);
}

int64_t QconvLookupBytesAvx512Vpopcnt(const QconvArgs& args) {
  // The break-even with multiplied bytes as it was measured
  // (docs/decisions/0012-table-products.md).
  constexpr int64_t kFewestPixels = 25;  // fewer stream the weights, which are smaller than indices
  const int64_t channels = args.out_channels;
  const int64_t lanes = (channels + kByteForm.lanes - 1) / kByteForm.lanes * kByteForm.lanes;
  bool pays = false;
  if (args.kind == QconvWeights::k2Bit) {
    pays = args.levels <= 4 && channels >= 64 && 8 * channels >= 7 * lanes;
  } else if (args.kind == QconvWeights::k1Bit) {
    pays = args.levels <= 4 ? channels >= 64 && 4 * channels >= 3 * lanes
                            : args.levels <= 16 && channels >= 256 && 8 * channels >= 7 * lanes;
  }
  pays = pays && int64_t{args.batch} * args.out_h * args.out_w >= kFewestPixels;
  return pays ? QconvLookupBytes(args, kByteForm) : 0;
}

void PrepareQconvLookupAvx512Vpopcnt(const QconvArgs& args, void* prepared) {
  PrepareQconvLookup(args, kByteForm, static_cast<uint8_t*>(prepared));
}

int64_t QconvLookupBytesAvx2(const QconvArgs& args) {
  // Against multiplied bytes of 28x28x128 and 3x3 taps, on a Xeon with AVX2 alone: 2 x 2 bits 1.4
  // times as fast, ternary 1.6, 1 x 2 bits 2.6, 1 x 4 bits 1.5. 24 channels, one vector, take 1.3
  // to 1.5 times as long, and so do windows of 16 codes, or 36 of two digits; 64 gain a tenth.
  constexpr int64_t kFewestPixels = 25;
  constexpr int64_t kFewestChannels = 64;
  constexpr int64_t kFewestCodes = 64;  // of a window, each digit
  const int64_t channels = args.out_channels;
  const int64_t lanes =
      (channels + kQconvNibbles.lanes - 1) / kQconvNibbles.lanes * kQconvNibbles.lanes;
  const int32_t most_levels = args.kind == QconvWeights::k1Bit   ? 16
                              : args.kind == QconvWeights::k2Bit ? 4
                                                                 : 0;
  const int64_t fewest_codes = args.levels > 4 ? 2 * kFewestCodes : kFewestCodes;
  const bool pays = args.levels <= most_levels && channels >= kFewestChannels &&
                    8 * channels >= 7 * lanes && args.steps * kStepCodes >= fewest_codes &&
                    int64_t{args.batch} * args.out_h * args.out_w >= kFewestPixels;
  return pays ? QconvLookupBytes(args, kQconvNibbles) : 0;
}

void PrepareQconvLookupAvx2(const QconvArgs& args, void* prepared) {
  PrepareQconvLookup(args, kQconvNibbles, static_cast<uint8_t*>(prepared));
}

int64_t ListQconvRuns(const QconvArgs& args, int64_t first, int64_t count, QconvRun* runs) {
  int64_t listed = 0;
  for (int64_t s = first; s < first + count; ++s) {
    const int64_t offset = args.step_bytes[s];
    if (listed > 0 && runs[listed - 1].offset + runs[listed - 1].bytes == offset) {
      runs[listed - 1].bytes += kStepCodes;
    } else {
      runs[listed++] = {offset, kStepCodes};
    }
  }
  return listed;
}

}  // namespace bitmill
