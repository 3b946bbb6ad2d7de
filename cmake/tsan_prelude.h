// Included first in every file of a ThreadSanitizer build. Protobuf's map fields have two more
// members when __SANITIZE_THREAD__ is defined, but the distribution's library was built without:
// the layouts would differ. The standard library reads the macro here, then it is taken away.
#pragma once

#include <cstddef>

#undef __SANITIZE_THREAD__
#define BITMILL_THREAD_SANITIZER 1  // for base/hand_off.h
