#include "kernels/fdense/fdense_loops.h"

namespace bitmill {

void FdenseRef(const FdenseArgs& args);

void FdenseRef(const FdenseArgs& args) { FdenseRun(args); }

}  // namespace bitmill
