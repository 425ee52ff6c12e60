#include "core/base/utf8.h"

#include <string.h>

#include "core/base/buf.h"

int hy_utf8_length(const char *text, const char *end)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80)
        return 1;
    const int length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || end - text < length)
        return 0;
    for (int i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    const int overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    const int surrogate = s[0] == 0xed && s[1] > 0x9f;
    const int too_large = s[0] == 0xf4 && s[1] > 0x8f;
    return overlong || surrogate || too_large ? 0 : length;
}

int hy_utf8_control(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] && (s[0] < 0x20 || s[0] == 0x7f))
        return 1;
    return s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0 ? 2 : 0;
}

char *hy_utf8_copy(const char *text)
{
    const char *const end = text + strlen(text);
    struct hy_buf out = {0};
    hy_buf_text(&out, "");
    for (int length; text < end; text += length ? length : 1) {
        length = hy_utf8_length(text, end);
        hy_buf_add(&out, length ? text : HY_UTF8_UNKNOWN,
                   length ? (size_t)length : strlen(HY_UTF8_UNKNOWN));
    }
    if (hy_buf_failed(&out))
        hy_buf_release(&out);
    return out.data;
}
