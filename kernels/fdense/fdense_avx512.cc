#include "kernels/fdense/fdense_loops.h"

namespace bitmill {

void FdenseAvx512(const FdenseArgs& args);

void FdenseAvx512(const FdenseArgs& args) { FdenseRun(args); }

}  // namespace bitmill
