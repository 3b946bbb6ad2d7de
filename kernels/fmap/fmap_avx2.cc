#include "kernels/fmap/fmap_loops.h"

namespace bitmill {

void FmapAvx2(const FmapArgs& args) { FmapRun(args); }
void FmapPoolAvx2(const FmapPoolArgs& args) { FmapPoolRun(args); }

}  // namespace bitmill
