// Which build of the program this is.
#pragma once

#include <string>

namespace bitmill {

// The linker's build id in hexadecimal, the same for the same program; where there is none a hash
// of the program's file, and "unknown" where that cannot be read. Costs a few microseconds, or as
// long as reading the file.
std::string ProgramId();

}  // namespace bitmill
