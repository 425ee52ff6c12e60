#include "runner/message.h"

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

/* What a rank looks at itself; the rest of the configuration is checked where it is trained. */
static int is_order(const struct hy_value *v)
{
    static const struct {
        const char *path;
        unsigned types; /* a bit for each enum hy_value_type */
    } fields[] = {
        {"config.run.isolate", 1 << HY_V_STRING},
        {"config.run.timeout", 1 << HY_V_INT | 1 << HY_V_REAL},
        {"config.run.watchdog", 1 << HY_V_INT | 1 << HY_V_REAL},
        {"checkpoint", 1 << HY_V_STRING},
        {"until", 1 << HY_V_INT | 1 << HY_V_NULL},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const struct hy_value *field = hy_value_at(v, fields[i].path);
        if (!(fields[i].types & 1u << (field ? field->type : HY_V_NULL)))
            return 0;
    }
    return 1;
}

int hy_order_parse(const char *json, struct hy_value **out, struct hy_err *e)
{
    struct hy_value *order;
    const int rc = hy_value_from_json(json, "order", &order, e);
    if (rc)
        return rc;
    if (!is_order(order)) {
        hy_value_free(order);
        return hy_fail(e, HY_E_ENV, "what came is no order to train: %.60s", json);
    }
    *out = order;
    return HY_OK;
}
