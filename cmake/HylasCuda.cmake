# CUDA, where there is a compiler for it; a build without one is a CPU build.
#
# HYLAS_CUDA: AUTO (use nvcc if it is there), ON (fail without it), OFF.
# HYLAS_CUDA_ARCHITECTURES: what to compile for; by default 80, 90 and the newest that nvcc knows.
# Sets HYLAS_CUDA_FOUND.
set(HYLAS_CUDA AUTO CACHE STRING "CUDA kernels: AUTO, ON or OFF")
set_property(CACHE HYLAS_CUDA PROPERTY STRINGS AUTO ON OFF)
set(HYLAS_CUDA_FOUND OFF)
if(HYLAS_CUDA)
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
        execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch
            OUTPUT_VARIABLE known OUTPUT_STRIP_TRAILING_WHITESPACE)
        string(REGEX MATCHALL "[0-9]+" known "${known}")
        list(SORT known COMPARE NATURAL ORDER DESCENDING)
        list(GET known 0 newest)
        set(HYLAS_CUDA_ARCHITECTURES "80;90;${newest}" CACHE STRING
            "CUDA architectures to compile for")
        set(CMAKE_CUDA_ARCHITECTURES "${HYLAS_CUDA_ARCHITECTURES}")
        enable_language(CUDA)
        find_package(CUDAToolkit REQUIRED)
        set(HYLAS_CUDA_FOUND ON)
        message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION} for architectures "
            "${HYLAS_CUDA_ARCHITECTURES}")
    elseif(HYLAS_CUDA STREQUAL ON)
        message(FATAL_ERROR "HYLAS_CUDA is ON, but no nvcc is found")
    else()
        message(STATUS "No nvcc found: hylas will run on CPUs only")
    endif()
endif()

# hylas_cuda(target): gives an engine its CUDA backend.
function(hylas_cuda target)
    file(GLOB sources CONFIGURE_DEPENDS core/graph/*.cu core/ops/*.cu core/ops/*/*.cu
        core/model/*.cu)
    target_sources(${target} PRIVATE ${sources} ${HYLAS_CUDA_TABLE})
    target_include_directories(${target} SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
    target_compile_definitions(${target} PUBLIC HY_CUDA="${CMAKE_CUDA_COMPILER_VERSION}")
    target_compile_definitions(${target} PRIVATE HY_CUDA_LIBRARIES="${CUDAToolkit_LIBRARY_DIR}")
    target_compile_options(${target} PRIVATE
        "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers>")
    if(HYLAS_WERROR)
        target_compile_options(${target} PRIVATE
            "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>"
            "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Werror>")
    endif()
    set_target_properties(${target} PROPERTIES CUDA_RUNTIME_LIBRARY Static)
    target_link_libraries(${target} PUBLIC ${CMAKE_DL_LIBS})
endfunction()
