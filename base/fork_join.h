// Threads that help a computation which another thread runs.
#pragma once

#include "absl/functional/function_ref.h"

namespace bitmill {

// Lends threads that have nothing better to do. Thread-safe.
//
// A computation takes a place for as long as it runs and shares its longer steps from there. While
// it has the place, helpers stay near between two shared steps; after Leave() nothing waits.
class ForkJoin {
 public:
  virtual ~ForkJoin() = default;

  // Threads that can work on one computation, its own included; at least 1.
  virtual int width() const = 0;

  // A place until Leave() for a computation that `width` threads can work on; -1 when there is
  // none, which the other functions take as well.
  virtual int Enter(int width) = 0;
  virtual void Leave(int place) = 0;

  // Calls the helpers that are missing to `width` threads. False: none is near and none can be
  // expected within moments, so that cutting work up would be for nothing.
  virtual bool Call(int place, int width) = 0;

  // Calls work(0) on this thread, and work(i) for different i from 1 to `width` - 1 on threads that
  // come to help meanwhile, which may be none; returns when all calls have returned. So whatever
  // there is to do has to be taken piece by piece: a call returns when nothing is left to take.
  // Work must not throw, and must not wait for another call.
  virtual void Run(int place, int width, absl::FunctionRef<void(int slot)> work) = 0;
};

}  // namespace bitmill
