// What the system knows of the calling thread.
#pragma once

#include "absl/strings/string_view.h"

namespace bitmill {

// The name that `top -H`, debuggers and profilers show; of more than 15 bytes the first 15.
void NameThisThread(absl::string_view name);

// For work that answers nobody: while serving threads need the CPU, this one gets about a third of
// what each of them does (nice + 5), and one that wakes up takes its place at once. Without it, a
// millisecond of such work on a busy CPU is a millisecond more for every request of that moment.
// No further back: it is under overload that an analysis has to come, and in time. Cannot be
// taken back without privileges. Locks that serving threads take are to be held for moments only.
void WorkInBackground();

// Of this process's threads in the order of their first call, from 0; stays the thread's own.
int ThisThreadNumber();

}  // namespace bitmill
