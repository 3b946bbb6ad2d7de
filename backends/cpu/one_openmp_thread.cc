#include "backends/cpu/one_openmp_thread.h"

#include <dlfcn.h>

namespace bitmill {

// The number of OpenMP threads is a property of the calling thread. The library that oneDNN was
// linked with is asked for the function, since a program may hold more than one OpenMP runtime.
void UseOneOpenMpThread() {
  static thread_local const bool done = [] {
    using SetThreads = void (*)(int);
    const auto set = reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
    if (set != nullptr) set(1);
    return true;
  }();
  static_cast<void>(done);
}

}  // namespace bitmill
