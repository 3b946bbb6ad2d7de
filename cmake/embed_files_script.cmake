# Run by bitmill_embed_files: writes OUTPUT from FILES (separated by '|').
set(type_html "text/html; charset=utf-8")
set(type_css "text/css; charset=utf-8")
set(type_js "text/javascript; charset=utf-8")
set(type_svg "image/svg+xml")
string(REPLACE "|" ";" files "${FILES}")
set(arrays "")
set(entries "")
set(number 0)
foreach(file IN LISTS files)
  get_filename_component(name ${file} NAME)
  string(REGEX REPLACE ".*\\." "" ending ${name})
  if(NOT DEFINED type_${ending})
    message(FATAL_ERROR "${file}: no content type is known for .${ending}")
  endif()
  set(path "/${name}")
  if(name STREQUAL "index.html")
    set(path "/")
  endif()
  file(READ ${file} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(APPEND arrays "constexpr unsigned char kFile${number}[] = {${bytes}};\n")
  string(APPEND entries "      {\"${path}\", \"${type_${ending}}\", View(kFile${number})},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE ${OUTPUT} "// Made by cmake/embed_files_script.cmake.
#include \"${HEADER}\"

#include <cstddef>

namespace bitmill {
namespace {

${arrays}
template <std::size_t bytes>
absl::string_view View(const unsigned char (&file)[bytes]) {
  return {reinterpret_cast<const char*>(file), bytes};
}

}  // namespace

std::vector<EmbeddedFile> ${FUNCTION}() {
  return {
${entries}  };
}

}  // namespace bitmill
")
