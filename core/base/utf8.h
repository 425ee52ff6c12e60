/* utf8.h - text in UTF-8: other people's bytes, such as names of files and hosts, need not be any.
 */
#ifndef HY_BASE_UTF8_H
#define HY_BASE_UTF8_H

/* U+FFFD, which stands for bytes that are no UTF-8. */
#define HY_UTF8_UNKNOWN "\xef\xbf\xbd"

/* Bytes of the sequence that begins at text and ends before end; 0 where they are none. */
int hy_utf8_length(const char *text, const char *end);

/* Bytes of the control character (C0, DEL, C1) at text; 0 where there is none. A terminal obeys
 * them. */
int hy_utf8_control(const char *text);

/* A copy, malloc'd, in which U+FFFD stands for each byte that is no UTF-8; NULL when memory is out.
 */
char *hy_utf8_copy(const char *text);

#endif
