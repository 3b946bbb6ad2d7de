# Run by bitmill_embed_text: writes OUTPUT from FILES (separated by '|').
string(REPLACE "|" ";" files "${FILES}")
set(bytes "")
foreach(file IN LISTS files)
  file(READ ${file} hex HEX)
  string(APPEND bytes "${hex}")
endforeach()
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "// Made by cmake/embed_text_script.cmake.
#include \"${HEADER}\"

namespace bitmill {
namespace {

constexpr char kText[] = {${bytes}};

}  // namespace

std::string_view ${FUNCTION}() { return {kText, sizeof(kText)}; }

}  // namespace bitmill
")
