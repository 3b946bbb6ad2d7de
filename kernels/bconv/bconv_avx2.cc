// Chooses the formulation. Lookup pays for rearranging the weights once in each tile of pixels:
// about as much as three pixels cost, so from eight pixels on it wins, and from two on where they
// come rearranged, in twice the bytes (one, where channels fill its vectors and are not so many
// that reading counts). Weights prepared for calls of one pixel and many channels are rows; listing
// those to add costs as much as adding them for 256 channels.
#include <string.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

void BconvAvx2(const BconvArgs& args);
int64_t PreparedBconvBytesAvx2(const BconvArgs& args);
void PrepareBconvAvx2(const BconvArgs& args, void* prepared);

namespace {

constexpr int64_t kMinLookupPixels = 8;
constexpr int64_t kMinPreparedPixels = 2;
constexpr int32_t kMinOnePixelChannels = 64;  // from here on lookup takes a single pixel too,
constexpr int32_t kMinRowsChannels = 384;     // up to here; then rows do
constexpr int64_t kMaxRowsPixels = 8;

// In front of prepared weights, on a cache line of its own.
enum class Form : int64_t { kNone, kPieces, kRows };
constexpr int64_t kHeaderBytes = 64;

int64_t Pixels(const BconvArgs& args) { return int64_t{args.batch} * args.out_h * args.out_w; }
int64_t Words(const BconvArgs& args) { return int64_t{args.taps} * args.c_words; }

bool CanLookUp(const BconvArgs& args, bool prepared) {
  if (Words(args) > kBconvLookupMaxWords) return false;
  if (!prepared) return Pixels(args) >= kMinLookupPixels;
  return Pixels(args) >= kMinPreparedPixels ||
         (args.out_channels >= kMinOnePixelChannels && args.out_channels < kMinRowsChannels);
}

// The form for calls with as many pixels as `args` has.
Form ChooseForm(const BconvArgs& args) {
  if (CanLookUp(args, true)) return Form::kPieces;
  const bool rows = args.planes == 1 && args.sparse == nullptr &&
                    args.out_channels >= kMinRowsChannels && Words(args) <= kBconvRowsMaxWords;
  return rows ? Form::kRows : Form::kNone;
}

}  // namespace

void BconvAvx2(const BconvArgs& args) {
  const uint8_t* pieces = nullptr;
  if (args.prepared != nullptr) {
    Form form;
    memcpy(&form, args.prepared, sizeof(form));
    const uint8_t* weights = static_cast<const uint8_t*>(args.prepared) + kHeaderBytes;
    if (form == Form::kRows && Pixels(args) <= kMaxRowsPixels) {
      BconvRowsAvx2(args, weights);
      return;
    }
    if (form == Form::kPieces) pieces = weights;
  }
  if (CanLookUp(args, pieces != nullptr)) {
    BconvLookupAvx2(args, pieces);
  } else {
    BconvDirectAvx2(args);
  }
}

int64_t PreparedBconvBytesAvx2(const BconvArgs& args) {
  switch (ChooseForm(args)) {
    case Form::kRows:
      return kHeaderBytes + BconvRowsBytesAvx2(args);
    case Form::kPieces:
      return kHeaderBytes + BconvLookupBytesAvx2(args);
    case Form::kNone:
      break;
  }
  return 0;
}

void PrepareBconvAvx2(const BconvArgs& args, void* prepared) {
  const Form form = ChooseForm(args);
  if (form == Form::kNone) return;
  memset(prepared, 0, kHeaderBytes);
  memcpy(prepared, &form, sizeof(form));
  uint8_t* weights = static_cast<uint8_t*>(prepared) + kHeaderBytes;
  if (form == Form::kRows) {
    PrepareBconvRowsAvx2(args, weights);
  } else {
    PrepareBconvLookupAvx2(args, weights);
  }
}

}  // namespace bitmill
