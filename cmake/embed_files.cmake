# bitmill_embed_files(<variable> HEADER h FUNCTION f FILES ...): a generated source, its path in <variable>, that
# defines `std::vector<EmbeddedFile> f()` of header h: the files byte for byte, in this order.
# bitmill_embed_text(...): likewise `std::string_view f()`: the files, plain ASCII, one behind the other.
set(BITMILL_EMBED_FOLDER ${CMAKE_CURRENT_LIST_DIR})
function(bitmill_embed script variable)
  cmake_parse_arguments(ARG "" "HEADER;FUNCTION" "FILES" ${ARGN})
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${ARG_FUNCTION}.cc)
  list(TRANSFORM ARG_FILES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  list(JOIN ARG_FILES "|" joined)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -D HEADER=${ARG_HEADER} -D FUNCTION=${ARG_FUNCTION} -D FILES=${joined} -D OUTPUT=${output}
            -P ${BITMILL_EMBED_FOLDER}/${script}
    DEPENDS ${ARG_FILES} ${BITMILL_EMBED_FOLDER}/${script}
    COMMENT "Embedding the files of ${ARG_FUNCTION}()"
    VERBATIM)
  set(${variable} ${output} PARENT_SCOPE)
endfunction()

macro(bitmill_embed_files)
  bitmill_embed(embed_files_script.cmake ${ARGN})
endmacro()

macro(bitmill_embed_text)
  bitmill_embed(embed_text_script.cmake ${ARGN})
endmacro()
