/* pattern.h - names that fit a pattern. */
#ifndef HY_BASE_PATTERN_H
#define HY_BASE_PATTERN_H

/* Whether a name fits a pattern, in which each '*' stands for any text. */
int hy_name_fits(const char *pattern, const char *name);

#endif
