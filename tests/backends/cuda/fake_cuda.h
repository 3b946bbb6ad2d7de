// Controls of the fake driver (fake_cuda.cc), found by name in the loaded library.
#pragma once

#include <cstdint>

extern "C" {

// What FakeCudaControl returns. All fields may be changed while no other thread calls the driver.
struct FakeCuda {
  const char* fail_call;  // the function that fails, "cuMemAlloc_v2"; null: none does
  int fail_after;         // this many calls of it succeed first
  int fail_error;         // what it returns then, from then on
  bool fail_all;          // from then on, all functions that work on the device fail likewise
  bool wrong_results;     // every kernel turns bits of the values in the arena
  int devices;
  int capability;  // of all of them, 90 is 9.0
  int compute_mode;
  int64_t launches;  // of kernels, so far, those of graphs included
  int64_t graph_launches;
  int64_t alive;                 // handles and blocks of memory that have not been released
  int64_t copied_in;             // bytes that streams copied to the device, so far
  unsigned char last_in[65536];  // the first of those of the last such copy
};

FakeCuda* FakeCudaControl();
// All of the above as they are at first; what is alive is not released.
void FakeCudaReset();
}
