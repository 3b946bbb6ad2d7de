# bitmill_embed_files(<variable> HEADER h FUNCTION f FILES ...): a generated source, its path in <variable>, that
# defines `std::vector<EmbeddedFile> f()` of header h: the files byte for byte, in this order.
set(BITMILL_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/embed_files_script.cmake)
function(bitmill_embed_files variable)
  cmake_parse_arguments(ARG "" "HEADER;FUNCTION" "FILES" ${ARGN})
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${ARG_FUNCTION}.cc)
  list(TRANSFORM ARG_FILES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  list(JOIN ARG_FILES "|" joined)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -D HEADER=${ARG_HEADER} -D FUNCTION=${ARG_FUNCTION} -D FILES=${joined} -D OUTPUT=${output}
            -P ${BITMILL_EMBED_SCRIPT}
    DEPENDS ${ARG_FILES} ${BITMILL_EMBED_SCRIPT}
    COMMENT "Embedding the files of ${ARG_FUNCTION}()"
    VERBATIM)
  set(${variable} ${output} PARENT_SCOPE)
endfunction()

# bitmill_embed_text(<variable> HEADER h FUNCTION f FILES ...): a generated source, its path in <variable>, that defines
# `std::string_view f()` of header h: the files, plain ASCII, one behind the other.
set(BITMILL_EMBED_TEXT_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/embed_text_script.cmake)
function(bitmill_embed_text variable)
  cmake_parse_arguments(ARG "" "HEADER;FUNCTION" "FILES" ${ARGN})
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${ARG_FUNCTION}.cc)
  list(TRANSFORM ARG_FILES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  list(JOIN ARG_FILES "|" joined)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -D HEADER=${ARG_HEADER} -D FUNCTION=${ARG_FUNCTION} -D FILES=${joined} -D OUTPUT=${output}
            -P ${BITMILL_EMBED_TEXT_SCRIPT}
    DEPENDS ${ARG_FILES} ${BITMILL_EMBED_TEXT_SCRIPT}
    COMMENT "Embedding the text of ${ARG_FUNCTION}()"
    VERBATIM)
  set(${variable} ${output} PARENT_SCOPE)
endfunction()
