/* log.h - messages for people, on stderr. Results go to stdout by plain printf. */
#ifndef HY_BASE_LOG_H
#define HY_BASE_LOG_H

enum hy_log_level { HY_LOG_QUIET, HY_LOG_NORMAL, HY_LOG_VERBOSE };

/* Set once, by main. */
void hy_log_set_level(enum hy_log_level level);
enum hy_log_level hy_log_get_level(void);

void hy_error(const char *format, ...) __attribute__((format(printf, 1, 2)));   /* always */
void hy_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));    /* always */
void hy_info(const char *format, ...) __attribute__((format(printf, 1, 2)));    /* not when quiet */
void hy_verbose(const char *format, ...) __attribute__((format(printf, 1, 2))); /* when verbose */

/* A line that the next message overwrites (live progress). Call only where stderr is a terminal. */
void hy_log_live(const char *line);

#endif
