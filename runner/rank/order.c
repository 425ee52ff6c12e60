#include "runner/rank/order.h"

int hy_order_make(const struct hy_order *order, struct hy_value **out, struct hy_err *e)
{
    struct hy_value *v = hy_value_map();
    int rc = v ? hy_value_set(v, "run", hy_value_int(order->run), e) : hy_fail_memory(e);
    if (!rc)
        rc = hy_value_set(v, "config", hy_value_copy(order->config), e);
    if (!rc)
        rc = hy_value_set(v, "checkpoint", hy_value_string(order->checkpoint), e);
    if (!rc)
        rc = hy_value_set(v, "key", hy_value_string(order->key), e);
    if (!rc && order->until)
        rc = hy_value_set(v, "until", hy_value_int(order->until), e);
    if (!rc && order->source)
        rc = hy_value_set(v, "source", hy_value_string(order->source), e);
    if (!rc && order->keep)
        rc = hy_value_set(v, "keep", hy_value_bool(1), e);
    if (rc)
        hy_value_free(v);
    else
        *out = v;
    return rc;
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
        {"source", 1 << HY_V_STRING | 1 << HY_V_NULL},
        {"keep", 1 << HY_V_BOOL | 1 << HY_V_NULL},
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
