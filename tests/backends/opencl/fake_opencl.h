// Controls of the fake driver (fake_opencl.cc), found by name in the loaded library.
#pragma once

#include <cstdint>

extern "C" {

// What FakeOpenClControl returns. All fields may be changed at any time; one thread.
struct FakeOpenCl {
  const char* fail_call;  // the function that fails, "clFinish"; null: none does
  int fail_after;         // this many calls of it succeed first
  int32_t fail_error;     // what it returns then, from then on
  bool wrong_results;     // every kernel turns bits of the values in the arena
  int platforms;          // 0: no platform, as of a loader without drivers
  int programs_built;     // from source, so far
  int programs_loaded;    // from binaries, so far
};

FakeOpenCl* FakeOpenClControl();
}
