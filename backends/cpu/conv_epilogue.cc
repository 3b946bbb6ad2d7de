#include "backends/cpu/conv_epilogue.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

using Epilogue = LowBitConvOp::Epilogue;

}  // namespace

absl::Status CheckEpilogue(const LowBitConvOp& op, const CodeInfo& output_code,
                           const BufferLayout& output) {
  const auto channels = static_cast<size_t>(output.channels);
  const bool coded = output.storage == Storage::kBits || output.storage == Storage::kCodes;
  const char* wrong = nullptr;
  switch (op.epilogue) {
    case Epilogue::kThresholds: {
      const int32_t levels = output.storage == Storage::kBits ? 2 : output_code.levels;
      if (!coded || levels < 2 || levels > 256) {
        wrong = "levels";
      } else if (op.thresholds.size() != channels * static_cast<size_t>(levels - 1)) {
        wrong = "thresholds";
      } else if (!op.flip.empty() && op.flip.size() != channels) {
        wrong = "flip flags";
      }
      break;
    }
    case Epilogue::kRequantize:
      if (op.quantizer.code.levels < 1 || op.quantizer.code.levels > 256) wrong = "levels";
      if (output.storage != Storage::kCodes) wrong = "storage of the output";
      [[fallthrough]];
    case Epilogue::kFloat:
      if (op.epilogue == Epilogue::kFloat && coded) wrong = "storage of the output";
      if (op.scale.size() != channels) wrong = "scales";
      if (op.bias.size() != channels) wrong = "biases";
      break;
  }
  if (wrong == nullptr) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the epilogue's ", wrong, " do not fit ", channels,
                                          " output channels and ", output_code.levels, " levels"));
}

absl::StatusOr<ConvEpilogue> ConvEpilogue::Make(const LowBitConvOp& op, const CodeInfo& output_code,
                                                const BufferLayout& output,
                                                const KernelSet& kernels,
                                                const std::vector<uint8_t>& negate) {
  ConvEpilogue result;
  result.epilogue_ = op.epilogue;
  result.output_ = output;
  result.requant_ = kernels.requant;
  result.pack_ = kernels.pack;
  result.transpose_ = kernels.transpose;
  result.quantizer_ = op.quantizer;
  const int64_t channels = output.channels;
  if (op.epilogue == Epilogue::kThresholds) {
    result.levels_ = output.storage == Storage::kBits ? 2 : output_code.levels;
    const int64_t count = result.levels_ - 1;
    const int64_t padded = (channels + 7) / 8 * 8;
    result.thresholds_.assign(static_cast<size_t>(count * padded),
                              std::numeric_limits<int32_t>::max());
    for (int64_t o = 0; o < channels; ++o) {
      for (int64_t i = 0; i < count; ++i) {
        result.thresholds_[static_cast<size_t>(i * padded + o)] =
            op.thresholds[static_cast<size_t>(o * count + i)];
      }
    }
  } else {
    absl::StatusOr<CompiledChain> chain = CompiledChain::Make(op.chain, channels, *kernels.fmap);
    if (!chain.ok()) return chain.status();
    result.chain_ = *std::move(chain);
  }
  if (std::find(negate.begin(), negate.end(), 1) != negate.end()) {
    result.negate_ = negate;
  }
  return result;
}

int64_t ConvEpilogue::table_bytes() const {
  return chain_.table_bytes() +
         static_cast<int64_t>(thresholds_.size() * sizeof(int32_t) + negate_.size());
}

void ConvEpilogue::Apply(void* acc, int64_t pixels, std::byte* dst, int64_t dst_pixel) const {
  if (epilogue_ == Epilogue::kThresholds) {
    return ApplyThresholds(static_cast<int32_t*>(acc), pixels, dst, dst_pixel);
  }
  auto* const values = static_cast<float*>(acc);
  chain_.RunInterleaved(values, pixels, output_.channels);
  if (epilogue_ == Epilogue::kRequantize) return ApplyQuantizer(values, pixels, dst, dst_pixel);
  StoreFloats(values, pixels, dst, dst_pixel);
}

void ConvEpilogue::ApplyThresholds(int32_t* acc, int64_t pixels, std::byte* dst,
                                   int64_t dst_pixel) const {
  const int64_t channels = output_.channels;
  if (!negate_.empty()) {
    for (int64_t p = 0; p < pixels; ++p) {
      for (int64_t o = 0; o < channels; ++o) {
        int32_t& sum = acc[p * channels + o];
        if (negate_[static_cast<size_t>(o)] != 0)
          sum = static_cast<int32_t>(-static_cast<uint32_t>(sum));
      }
    }
  }
  RequantArgs args{};
  args.acc = acc;
  args.acc_pixel = channels;
  args.pixels = static_cast<int32_t>(pixels);
  args.channels = static_cast<int32_t>(channels);
  args.levels = levels_;
  args.thresholds = thresholds_.data();
  auto* const out = reinterpret_cast<uint8_t*>(dst);
  args.out_bits = output_.storage == Storage::kBits ? out : nullptr;
  args.out_codes = output_.storage == Storage::kCodes ? out : nullptr;
  args.out_pixel = dst_pixel;
  requant_->run(args);
}

void ConvEpilogue::ApplyQuantizer(const float* acc, int64_t pixels, std::byte* dst,
                                  int64_t dst_pixel) const {
  const int64_t channels = output_.channels;
  if (quantizer_.rounding != Rounding::kHalfEven) {
    for (int64_t p = 0; p < pixels; ++p) {
      for (int64_t o = 0; o < channels; ++o) {
        dst[p * dst_pixel + o] =
            static_cast<std::byte>(EvaluateQuantizer(quantizer_, acc[p * channels + o]));
      }
    }
    return;
  }
  QuantPackArgs args{};
  args.src = acc;
  args.src_pixel = channels;
  args.src_channel = 1;
  args.pixels = static_cast<int32_t>(pixels);
  args.channels = static_cast<int32_t>(channels);
  args.scale = quantizer_.code.scale;
  args.offset = quantizer_.offset;
  args.levels = quantizer_.code.levels;
  args.dst = reinterpret_cast<uint8_t*>(dst);
  args.dst_pixel = dst_pixel;
  pack_->quant(args);
}

void ConvEpilogue::StoreFloats(const float* acc, int64_t pixels, std::byte* dst,
                               int64_t dst_pixel) const {
  const int64_t channels = output_.channels;
  if (output_.storage == Storage::kPixelFloat || output_.pixels() == 1) {
    for (int64_t p = 0; p < pixels; ++p) {
      std::copy_n(acc + p * channels, channels, reinterpret_cast<float*>(dst + p * dst_pixel));
    }
    return;
  }
  transpose_->words({.src = acc,
                     .dst = dst,
                     .rows = pixels,
                     .columns = channels,
                     .src_stride = channels,
                     .dst_stride = output_.pixels()});
}

}  // namespace bitmill
