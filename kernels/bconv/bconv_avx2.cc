// Chooses the formulation. Lookup pays for rearranging the weights once in each tile of pixels:
// about as much as three pixels cost, so from eight pixels on it wins, and from two on where they
// come rearranged. Weights prepared for calls of one pixel are rows, which win up to
// kMaxRowsPixels.
#include <string.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

void BconvAvx2(const BconvArgs& args);
int64_t PreparedBconvBytesAvx2(const BconvArgs& args);
void PrepareBconvAvx2(const BconvArgs& args, void* prepared);

namespace {

constexpr int64_t kMinLookupPixels = 8;
constexpr int64_t kMinPreparedPixels = 2;
constexpr int64_t kMaxRowsPixels = 8;
constexpr int32_t kMinRowsChannels = 64;  // fewer leave most of a row empty

// In front of prepared weights, on a cache line of its own.
enum class Form : int64_t { kPieces, kRows };
constexpr int64_t kHeaderBytes = 64;

int64_t Pixels(const BconvArgs& args) { return int64_t{args.batch} * args.out_h * args.out_w; }
int64_t Words(const BconvArgs& args) { return int64_t{args.taps} * args.c_words; }

// The form for calls with as many pixels as `args` has; false if there is none.
bool ChooseForm(const BconvArgs& args, Form* form) {
  if (Pixels(args) >= kMinPreparedPixels) {
    *form = Form::kPieces;
    return Words(args) <= kBconvLookupMaxWords;
  }
  *form = Form::kRows;
  return args.planes == 1 && Words(args) <= kBconvRowsMaxWords &&
         args.out_channels >= kMinRowsChannels;
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
  const int64_t min_pixels = pieces != nullptr ? kMinPreparedPixels : kMinLookupPixels;
  if (Pixels(args) >= min_pixels && Words(args) <= kBconvLookupMaxWords) {
    BconvLookupAvx2(args, pieces);
  } else {
    BconvDirectAvx2(args);
  }
}

int64_t PreparedBconvBytesAvx2(const BconvArgs& args) {
  Form form;
  if (!ChooseForm(args, &form)) return 0;
  return kHeaderBytes +
         (form == Form::kRows ? BconvRowsBytesAvx2(args) : BconvLookupBytesAvx2(args));
}

void PrepareBconvAvx2(const BconvArgs& args, void* prepared) {
  Form form;
  if (!ChooseForm(args, &form)) return;
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
