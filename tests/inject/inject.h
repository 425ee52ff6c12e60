/* inject.h - makes one call of the program fail: the n-th allocation, file operation, or either of
 * SQLite. Works in programs that are linked with inject.c and its -Wl,--wrap options
 * (tests/CMakeLists.txt): calls of hylas's own code, libyaml's allocations, and SQLite's calls. */
#ifndef HY_TESTS_INJECT_H
#define HY_TESTS_INJECT_H

enum inject_kind {
    INJECT_MEMORY,        /* malloc and its kin return NULL, in libyaml too */
    INJECT_FILES,         /* open, read, write, rename, ...: EIO; no thread, no process */
    INJECT_SQLITE_MEMORY, /* SQLite's allocations */
    INJECT_SQLITE_FILES,  /* SQLite's system calls: EIO, or ENOSPC where it writes */
    INJECT_KINDS
};
extern const char *const inject_names[INJECT_KINDS];

/* Before the first use of SQLite. */
void inject_install(void);
/* The n-th such call from now fails, n from 1; 0: none does. */
void inject_arm(enum inject_kind kind, long n);
/* Lets all calls be; how many there were since inject_arm(). */
long inject_disarm(void);

#endif
