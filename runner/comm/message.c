#include "runner/comm/message.h"

#include <stdio.h>
#include <string.h>

int hy_message_send(struct hy_comm *comm, int to, const char *verb, int run, const char *payload,
                    size_t size, struct hy_err *e)
{
    struct hy_buf text = {0};
    hy_buf_printf(&text, "%s %d\n", verb, run);
    if (size)
        hy_buf_add(&text, payload, size);
    const int rc =
        hy_buf_failed(&text) ? hy_fail_memory(e) : hy_comm_send(comm, to, text.data, text.size, e);
    hy_buf_release(&text);
    return rc;
}

int hy_message_parse(const struct hy_buf *bytes, struct hy_message *out, struct hy_err *e)
{
    struct hy_message m = {.run = -1};
    if (hy_buf_failed(bytes))
        return hy_fail_memory(e);
    const char *line = bytes->data ? strchr(bytes->data, '\n') : NULL;
    if (!line || sscanf(bytes->data, "%15s %d", m.verb, &m.run) != 2)
        return hy_fail(e, HY_E_ENV, "a rank sent what is no message");
    m.payload = line + 1;
    m.size = bytes->size - (size_t)(m.payload - bytes->data);
    *out = m;
    return HY_OK;
}
