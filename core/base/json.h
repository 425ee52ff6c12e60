/* json.h - JSON (RFC 8259): read into a tree of values; strings written. */
#ifndef HY_BASE_JSON_H
#define HY_BASE_JSON_H

#include <stddef.h>

#include "core/base/buf.h"
#include "core/base/value.h"

/* Parses `length` bytes, all of them. name stands in error messages and must outlive the value.
 * Refuses (HY_E_USAGE, with line and column) what the RFC does not allow, and what it leaves open:
 * repeated keys, integers beyond 64 bits, the character U+0000, more than 256 levels, maps of more
 * than HY_MAX_KEYS keys. */
int hy_json_parse(const char *text, size_t length, const char *name, struct hy_value **out,
                  struct hy_err *e);

/* Appends text as a JSON string. What is no UTF-8 becomes U+FFFD: other people's bytes, such as a
 * child's last words, must not spoil a line. */
void hy_json_quote(const char *text, struct hy_buf *out);

#endif
