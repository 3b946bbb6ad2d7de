#include "kernels/fmap/fmap_loops.h"

namespace bitmill {

void FmapAvx512(const FmapArgs& args) { FmapRun(args); }
void FmapPoolAvx512(const FmapPoolArgs& args) { FmapPoolRun(args); }

}  // namespace bitmill
