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
        {"run", 1 << HY_V_INT},
        {"checkpoint", 1 << HY_V_STRING},
        {"key", 1 << HY_V_STRING | 1 << HY_V_NULL},
        {"until", 1 << HY_V_INT | 1 << HY_V_NULL},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const struct hy_value *field = hy_value_at(v, fields[i].path);
        if (!(fields[i].types & 1u << (field ? field->type : HY_V_NULL)))
            return 0;
    }
    return 1;
}

static int are_orders(const struct hy_value *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (!is_order(list->items[i]))
            return 0;
    return list->count > 0;
}

/* A value as the list of itself, unless it is one; takes it. */
static int as_list(struct hy_value *v, struct hy_value **out, struct hy_err *e)
{
    struct hy_value *list = v->type == HY_V_LIST ? v : hy_value_list();
    int rc = list ? HY_OK : hy_fail_memory(e);
    if (rc)
        hy_value_free(v);
    else if (list != v && (rc = hy_value_append(list, v, e)))
        hy_value_free(list);
    else
        *out = list;
    return rc;
}

int hy_order_parse(const char *json, struct hy_value **out, struct hy_err *e)
{
    struct hy_value *value, *orders;
    int rc = hy_value_from_json(json, "order", &value, e);
    if (!rc)
        rc = as_list(value, &orders, e);
    if (rc)
        return rc;
    if (!are_orders(orders)) {
        hy_value_free(orders);
        return hy_fail(e, HY_E_ENV, "what came is no order to train: %.60s", json);
    }
    *out = orders;
    return HY_OK;
}
