// OpenMP kept to one thread, for the library that oneDNN brings along.
#pragma once

namespace bitmill {

// What OpenMP runs for the calling thread stays on it: parallelism is ours. Cheap after the first
// call of a thread.
void UseOneOpenMpThread();

}  // namespace bitmill
