#include "tests/inject/inject.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const inject_names[INJECT_KINDS] = {
    [INJECT_MEMORY] = "allocation",
    [INJECT_FILES] = "file operation",
    [INJECT_SQLITE_MEMORY] = "allocation of SQLite",
    [INJECT_SQLITE_FILES] = "file operation of SQLite",
};

static atomic_int armed = -1; /* an enum inject_kind; -1: none */
static atomic_long calls, target;

void inject_arm(enum inject_kind kind, long n)
{
    atomic_store(&calls, 0);
    atomic_store(&target, n);
    atomic_store(&armed, (int)kind);
}

long inject_disarm(void)
{
    atomic_store(&armed, -1);
    return atomic_load(&calls);
}

/* Counts a call; 1 when it is to fail. */
static int fails(enum inject_kind kind)
{
    return atomic_load(&armed) == (int)kind &&
           atomic_fetch_add(&calls, 1) + 1 == atomic_load(&target);
}

/* ---- hylas's own calls ---- */

/* WRAP(type, name, (parameters), (arguments), kind, code, failed): name, which fails with errno
 * code. */
#define WRAP(type, name, parameters, arguments, kind, code, failed) \
    type __real_##name parameters;                                  \
    type __wrap_##name parameters;                                  \
    type __wrap_##name parameters                                   \
    {                                                               \
        if (!fails(kind))                                           \
            return __real_##name arguments;                         \
        errno = code;                                               \
        return failed;                                              \
    }
#define MEMORY(type, name, parameters, arguments) \
    WRAP(type, name, parameters, arguments, INJECT_MEMORY, ENOMEM, NULL)
#define FILES(type, name, parameters, arguments, failed) \
    WRAP(type, name, parameters, arguments, INJECT_FILES, EIO, failed)

MEMORY(void *, malloc, (size_t size), (size))
MEMORY(void *, calloc, (size_t count, size_t size), (count, size))
MEMORY(void *, realloc, (void *old, size_t size), (old, size))
MEMORY(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
MEMORY(char *, strdup, (const char *text), (text))
MEMORY(char *, strndup, (const char *text, size_t size), (text, size))

FILES(ssize_t, read, (int file, void *bytes, size_t size), (file, bytes, size), -1)
FILES(ssize_t, write, (int file, const void *bytes, size_t size), (file, bytes, size), -1)
FILES(ssize_t, pread, (int file, void *bytes, size_t size, off_t at), (file, bytes, size, at), -1)
FILES(ssize_t, pwrite, (int file, const void *bytes, size_t size, off_t at),
      (file, bytes, size, at), -1)
FILES(int, fsync, (int file), (file), -1)
FILES(int, ftruncate, (int file, off_t size), (file, size), -1)
FILES(off_t, lseek, (int file, off_t at, int from), (file, at, from), -1)
FILES(int, access, (const char *path, int mode), (path, mode), -1)
FILES(int, unlink, (const char *path), (path), -1)
FILES(int, rmdir, (const char *path), (path), -1)
FILES(int, rename, (const char *from, const char *to), (from, to), -1)
FILES(int, mkdir, (const char *path, mode_t mode), (path, mode), -1)
FILES(int, stat, (const char *path, struct stat *out), (path, out), -1)
FILES(int, fstat, (int file, struct stat *out), (file, out), -1)
FILES(int, pipe2, (int files[2], int flags), (files, flags), -1)
FILES(FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL)
FILES(size_t, fread, (void *bytes, size_t size, size_t count, FILE *file),
      (bytes, size, count, file), 0)
FILES(size_t, fwrite, (const void *bytes, size_t size, size_t count, FILE *file),
      (bytes, size, count, file), 0)
FILES(int, fflush, (FILE * file), (file), EOF)
FILES(DIR *, opendir, (const char *path), (path), NULL)
FILES(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1)
FILES(int, posix_spawn,
      (pid_t * pid, const char *path, const posix_spawn_file_actions_t *files,
       const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]),
      (pid, path, files, attributes, argv, envp), EAGAIN)
FILES(int, pthread_create,
      (pthread_t * thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument),
      (thread, attributes, body, argument), EAGAIN)

int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **out, const char *format, ...)
{
    if (fails(INJECT_MEMORY))
        return -1;
    va_list args;
    va_start(args, format);
    const int size = vasprintf(out, format, args);
    va_end(args);
    return size;
}

static mode_t mode_of(int flags, va_list args)
{
    return flags & O_CREAT ? va_arg(args, mode_t) : 0;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    const mode_t mode = mode_of(flags, args);
    va_end(args);
    if (!fails(INJECT_FILES))
        return __real_open(path, flags, mode);
    errno = EIO;
    return -1;
}

/* Of locks and flags: the third argument is a pointer or an int. */
int __real_fcntl(int file, int command, ...);
int __wrap_fcntl(int file, int command, ...);
int __wrap_fcntl(int file, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (!fails(INJECT_FILES))
        return __real_fcntl(file, command, argument);
    errno = EIO;
    return -1;
}

/* What is closed is gone all the same, as on Linux. */
#define CLOSE(name, type, failed)                                       \
    int __real_##name(type file);                                       \
    int __wrap_##name(type file);                                       \
    int __wrap_##name(type file)                                        \
    {                                                                   \
        const int fail = fails(INJECT_FILES), rc = __real_##name(file); \
        errno = fail ? EIO : errno;                                     \
        return fail ? failed : rc;                                      \
    }
CLOSE(close, int, -1)
CLOSE(fclose, FILE *, EOF)

/* ---- libyaml's, whose functions the program's come before ---- */

void *yaml_malloc(size_t size);
void *yaml_malloc(size_t size)
{
    return __wrap_malloc(size ? size : 1);
}

void *yaml_realloc(void *old, size_t size);
void *yaml_realloc(void *old, size_t size)
{
    return __wrap_realloc(old, size ? size : 1);
}

char *yaml_strdup(const char *text);
char *yaml_strdup(const char *text)
{
    return text ? __wrap_strdup(text) : NULL;
}

/* ---- SQLite's ---- */

static sqlite3_mem_methods memory;

static void *sqlite_malloc(int size)
{
    return fails(INJECT_SQLITE_MEMORY) ? NULL : memory.xMalloc(size);
}

static void *sqlite_realloc(void *old, int size)
{
    return fails(INJECT_SQLITE_MEMORY) ? NULL : memory.xRealloc(old, size);
}

/* CALL(type, name, (parameters), call, code, failed): sqlite_name, which calls or fails with errno
 * code. */
#define CALL(type, name, parameters, call, code, failed) \
    static type sqlite_##name parameters                 \
    {                                                    \
        if (!fails(INJECT_SQLITE_FILES))                 \
            return call;                                 \
        errno = code;                                    \
        return failed;                                   \
    }
CALL(int, open, (const char *path, int flags, int mode), __real_open(path, flags, mode), EIO, -1)
CALL(int, access, (const char *path, int mode), __real_access(path, mode), EIO, -1)
CALL(int, unlink, (const char *path), __real_unlink(path), EIO, -1)
CALL(int, truncate, (int file, off_t size), __real_ftruncate(file, size), EIO, -1)
CALL(int, fstat, (int file, struct stat *out), __real_fstat(file, out), EIO, -1)
CALL(int, fcntl, (int file, int command, void *argument), __real_fcntl(file, command, argument),
     EIO, -1)
CALL(ssize_t, read, (int file, void *bytes, size_t size, off_t at),
     __real_pread(file, bytes, size, at), EIO, -1)
CALL(ssize_t, write, (int file, const void *bytes, size_t size, off_t at),
     __real_pwrite(file, bytes, size, at), ENOSPC, -1)
CALL(void *, mmap, (void *place, size_t size, int access, int flags, int file, off_t at),
     mmap(place, size, access, flags, file, at), ENOMEM, MAP_FAILED)

/* SQLite has no hook for it: the program's function comes before the C library's. What is written
 * here need not outlive a power failure, so that nothing waits for the disk. */
int fdatasync(int file)
{
    (void)file;
    if (!fails(INJECT_SQLITE_FILES))
        return 0;
    errno = EIO;
    return -1;
}

void inject_install(void)
{
    static const struct {
        const char *name;
        sqlite3_syscall_ptr call;
    } files[] = {
        {"open", (sqlite3_syscall_ptr)sqlite_open},
        {"access", (sqlite3_syscall_ptr)sqlite_access},
        {"unlink", (sqlite3_syscall_ptr)sqlite_unlink},
        {"ftruncate", (sqlite3_syscall_ptr)sqlite_truncate},
        {"fstat", (sqlite3_syscall_ptr)sqlite_fstat},
        {"fcntl", (sqlite3_syscall_ptr)sqlite_fcntl},
        {"pread", (sqlite3_syscall_ptr)sqlite_read},
        {"pread64", (sqlite3_syscall_ptr)sqlite_read},
        {"pwrite", (sqlite3_syscall_ptr)sqlite_write},
        {"pwrite64", (sqlite3_syscall_ptr)sqlite_write},
        {"mmap", (sqlite3_syscall_ptr)sqlite_mmap},
    };
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory);
    sqlite3_mem_methods own = memory;
    own.xMalloc = sqlite_malloc;
    own.xRealloc = sqlite_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &own);
    /* Else most allocations would be served from a cache of earlier ones. */
    sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        vfs->xSetSystemCall(vfs, files[i].name, files[i].call);
}
