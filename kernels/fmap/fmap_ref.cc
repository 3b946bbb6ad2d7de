#include "kernels/fmap/fmap_loops.h"

namespace bitmill {

void FmapRef(const FmapArgs& args) { FmapRun(args); }
void FmapPoolRef(const FmapPoolArgs& args) { FmapPoolRun(args); }

}  // namespace bitmill
