#include "kernels/fdense/fdense_loops.h"

namespace bitmill {

void FdenseAvx2(const FdenseArgs& args);

void FdenseAvx2(const FdenseArgs& args) { FdenseRun(args); }

}  // namespace bitmill
