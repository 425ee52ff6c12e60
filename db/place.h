/* place.h - what kind of file system a database lies on.
 *
 * SQLite's write-ahead log (WAL) shares memory among all that have the database open. That holds on
 * one machine's own disk. On file systems that others see too, or that a program serves (FUSE), it
 * ends in SIGBUS or a damaged file; there a rollback journal is right, as it needs no more than
 * locks. What is not known as a local disk is taken for such a one: that is slower, never wrong. */
#ifndef HY_DB_PLACE_H
#define HY_DB_PLACE_H

struct hy_place {
    int is_local;
    char name[48]; /* "NFS", "a file system of type 0x1234" */
};

/* type: f_type of statfs(2). */
struct hy_place hy_place_of_type(unsigned long type);
/* Where statfs fails, the place is not local. */
struct hy_place hy_place_of_file(int file);
struct hy_place hy_place_of_path(const char *path);

#endif
