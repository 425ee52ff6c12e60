/* err.h - the one way a function says what went wrong.
 *
 * A function that can fail returns int (0 = ok, else an enum hy_code) and takes struct hy_err *
 * last. Whoever first knows of the fault writes the message, with values; callers forward it and
 * may put the place (file, line, run) in front with hy_err_wrap(). Outputs are untouched on
 * failure. */
#ifndef HY_BASE_ERR_H
#define HY_BASE_ERR_H

/* The values are hylas's exit codes (docs/design.md, "Commands"). */
enum hy_code {
    HY_OK = 0,
    HY_E_RUN = 1,         /* a run failed or diverged */
    HY_E_USAGE = 2,       /* bad command line, sweep file or other input */
    HY_E_ENV = 3,         /* the environment: files, memory, database, MPI */
    HY_E_INTERRUPTED = 75 /* stopped by a signal; the same command goes on */
};

struct hy_err {
    enum hy_code code;
    char text[1024]; /* one or more complete sentences, no newline at the end */
};

/* Sets *e (when e is not NULL) and returns code, so that failing is one line:
 *     return hy_fail(e, HY_E_USAGE, "d_model %d is not a multiple of heads %d", d, h);  */
int hy_fail(struct hy_err *e, enum hy_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* hy_fail with the text of errno appended: "cannot open x.db: Permission denied". */
int hy_fail_errno(struct hy_err *e, enum hy_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " in front of the message already in *e; returns e's code. */
int hy_err_wrap(struct hy_err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The shared answer to a failed allocation. */
int hy_fail_memory(struct hy_err *e);

#endif
