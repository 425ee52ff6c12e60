# What hylas builds on. The engine needs none of it; a machine that lacks some of it gets less, and one
# line says what. HYLAS_WHOLE: all that sweeps need is there. Else `hylas` only has bench and variants.
option(HYLAS_REDUCED "Build as if no library were there" OFF)

set(HYLAS_WHOLE ON)

# hylas_package(NAME module what): the imported target PkgConfig::NAME, without which there is no
# `what`. Sets NAME_FOUND.
macro(hylas_package name module what)
    set(${name}_FOUND OFF)
    if(PKG_CONFIG_FOUND AND NOT HYLAS_REDUCED)
        pkg_check_modules(${name} IMPORTED_TARGET ${module})
    endif()
    if(NOT ${name}_FOUND)
        message(STATUS "No ${module}: no ${what}")
    endif()
endmacro()

if(NOT HYLAS_REDUCED)
    find_package(PkgConfig)
    find_package(OneDNN)
    find_package(OpenMP COMPONENTS C) # the runtime that oneDNN takes its threads from
    find_package(MPI COMPONENTS C)
endif()
hylas_package(YAML yaml-0.1 "sweep files")
hylas_package(SQLITE sqlite3 "database")
hylas_package(XXHASH libxxhash "keys of runs, no checkpoints")
hylas_package(CMOCKA cmocka "unit tests")
if(NOT OneDNN_FOUND OR NOT OpenMP_C_FOUND)
    set(OneDNN_FOUND OFF)
    message(STATUS "No oneDNN: products on the CPU are plain loops")
endif()
if(NOT MPI_C_FOUND)
    message(STATUS "No MPI: hylas will run on one rank only")
endif()
if(NOT YAML_FOUND OR NOT SQLITE_FOUND OR NOT XXHASH_FOUND)
    set(HYLAS_WHOLE OFF)
    message(STATUS "So hylas has the commands bench and variants only")
endif()
