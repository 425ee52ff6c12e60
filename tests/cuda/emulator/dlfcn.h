/* dlfcn.h - in the emulated build a library that is opened is always the emulated cuBLAS. */
#ifndef HY_TESTS_EMULATOR_DLFCN_H
#define HY_TESTS_EMULATOR_DLFCN_H

enum { RTLD_NOW = 2 };

void *hy_emulated_symbol(const char *name);

static inline void *dlopen(const char *, int)
{
    return (void *)hy_emulated_symbol;
}
static inline void *dlsym(void *, const char *name)
{
    return hy_emulated_symbol(name);
}
static inline const char *dlerror(void)
{
    return "";
}

#endif
