# Tables of plug-ins, generated from file names.
#
# hylas_plugins(VAR folder type prefix header [pattern...])
#   Every folder/<name>.c (of those that a pattern matches) that defines `const struct <type> <prefix>_<name>` is a plug-in. Writes a C file
#   that defines `const struct <type> *const <prefix>s[]`, sorted by name and ended by NULL, and puts its
#   path into VAR. (The table of tables is hy_tables, of commands hy_commands, and so on.)
function(hylas_plugins var folder type prefix header)
    set(patterns ${ARGN})
    if(NOT patterns)
        set(patterns *.c)
    endif()
    list(TRANSFORM patterns PREPEND ${folder}/)
    file(GLOB files CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} ${patterns})
    list(SORT files)
    set(declarations "")
    set(rows "")
    foreach(file ${files})
        get_filename_component(name ${file} NAME_WE)
        # A command's file is cmd_<verb>.c.
        string(REGEX REPLACE "^cmd_" "" name ${name})
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
        file(STRINGS ${file} hit REGEX "^const struct ${type} ${prefix}_${name} ")
        if(hit)
            string(APPEND declarations "extern const struct ${type} ${prefix}_${name};\n")
            string(APPEND rows "    &${prefix}_${name},\n")
        endif()
    endforeach()
    set(out ${PROJECT_BINARY_DIR}/generated/${prefix}s.c)
    file(CONFIGURE OUTPUT ${out} @ONLY CONTENT
"/* Generated from the files in ${folder}/. */
#include \"${header}\"

${declarations}
const struct ${type} *const ${prefix}s[] = {
${rows}    0,
};
")
    set(${var} ${out} PARENT_SCOPE)
endfunction()

# hylas_cuda_table(VAR): a C file that defines hy_cuda_ops (core/graph/device.h) from the .cu files that
# say HY_CUDA_KIND(<name>) for their own name.
function(hylas_cuda_table var)
    file(GLOB files CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} core/graph/*.cu core/ops/*.cu
        core/ops/*/*.cu core/model/*.cu)
    set(declarations "")
    set(rows "")
    foreach(file ${files})
        get_filename_component(name ${file} NAME_WE)
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
        file(STRINGS ${file} hit REGEX "^HY_CUDA_KIND\\(${name}\\)")
        if(hit)
            string(APPEND declarations "extern const struct hy_cuda_kind hy_cuda_${name};\n")
            string(APPEND rows "    {\"${name}\", &hy_cuda_${name}},\n")
        endif()
    endforeach()
    set(out ${PROJECT_BINARY_DIR}/generated/hy_cuda_ops.c)
    file(CONFIGURE OUTPUT ${out} @ONLY CONTENT
"/* Generated from the .cu files of operators. */
#include \"core/graph/device.h\"

${declarations}
const struct hy_cuda_op hy_cuda_ops[] = {
${rows}    {0, 0},
};
")
    set(${var} ${out} PARENT_SCOPE)
endfunction()

# hylas_embed(VAR file symbol): a C file that defines `const char symbol[]` with the text of file.
function(hylas_embed var file symbol)
    set(out ${PROJECT_BINARY_DIR}/generated/${symbol}.c)
    add_custom_command(OUTPUT ${out}
        COMMAND ${CMAKE_COMMAND} -DIN=${PROJECT_SOURCE_DIR}/${file} -DOUT=${out} -DSYMBOL=${symbol}
            -P ${PROJECT_SOURCE_DIR}/cmake/Embed.cmake
        DEPENDS ${PROJECT_SOURCE_DIR}/${file} ${PROJECT_SOURCE_DIR}/cmake/Embed.cmake)
    set(${var} ${out} PARENT_SCOPE)
endfunction()
