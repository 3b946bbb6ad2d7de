// BITMILL_CHECK(condition) stops the program when an invariant of our own is broken. Input from a
// user, a file or the network never reaches one: it is answered with a status.
#pragma once

namespace bitmill {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}  // namespace bitmill

#define BITMILL_CHECK(condition) \
  (static_cast<bool>(condition) ? void() : ::bitmill::CheckFailed(#condition, __FILE__, __LINE__))
