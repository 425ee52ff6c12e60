/* exhaustive.c - every layout of the aligned model is evaluated: the best of those with so many
 * full layers, or with the fewest that keep the tolerance. The truth about what evaluation without
 * training can see. */
#include "core/selection/selector.h"

#include <math.h>
#include <string.h>

static const struct hy_option exhaustive_options[] = {
    {"most", HY_OPT_INT, .def = 4096, .min = 1, .max = 1 << 24,
     .help = "layouts that are evaluated at most; more are refused"},
    {0},
};

/* n over k, or more than a double holds exactly. */
static double combinations(int n, int k)
{
    double count = 1;
    for (int i = 1; i <= k; i++)
        count = count * (n - k + i) / i;
    return count;
}

static int exhaustive_check(const struct hy_value *options, int layers, int budget,
                            struct hy_err *e)
{
    const double count = budget >= 0 ? combinations(layers, budget) : exp2(layers);
    const long long most = hy_get_int(options, "most");
    return count <= (double)most
               ? HY_OK
               : hy_fail(e, HY_E_USAGE,
                         "%.0f layouts of %d layers are too many to evaluate: select.most is %lld",
                         count, layers, most);
}

/* The next set of as many layers; 0: there is none. In the order of the layers' numbers. */
static int advance(unsigned char *full, int layers)
{
    int last = layers - 1, tail = 0;
    while (last >= 0 && full[last]) {
        full[last--] = 0;
        tail++;
    }
    while (last >= 0 && !full[last])
        last--;
    if (last < 0)
        return 0;
    full[last] = 0;
    memset(full + last + 1, 1, (size_t)tail + 1);
    return 1;
}

/* The best layout with `count` full layers, in c->full. */
static int find_best(struct hy_choosing *c, int count, double *best, struct hy_err *e)
{
    unsigned char full[HY_MAX_LAYERS] = {0};
    memset(full, 1, (size_t)count);
    *best = NAN;
    do {
        double loss;
        const int rc = c->evaluate(c->context, full, &loss, e);
        if (rc)
            return rc;
        if (!(*best <= loss)) {
            *best = loss;
            memcpy(c->full, full, sizeof full);
        }
    } while (advance(full, c->layers));
    return HY_OK;
}

/* What each linear layer would gain by being full, and each full one loses by being linear. */
static int rank(struct hy_choosing *c, double best, struct hy_err *e)
{
    for (int i = 0; i < c->layers; i++) {
        double loss;
        c->full[i] = !c->full[i];
        const int rc = c->evaluate(c->context, c->full, &loss, e);
        c->full[i] = !c->full[i];
        if (rc)
            return rc;
        c->importance[i] = c->full[i] ? loss - best : best - loss;
    }
    return HY_OK;
}

static int exhaustive_choose(struct hy_choosing *c, struct hy_err *e)
{
    double best = NAN;
    int rc = HY_OK;
    if (c->budget >= 0)
        rc = find_best(c, c->budget, &best, e);
    for (int count = 0; c->budget < 0 && !rc && !(best <= c->limit) && count <= c->layers; count++)
        rc = find_best(c, count, &best, e);
    return rc ? rc : rank(c, best, e);
}

const struct hy_selector hy_selector_exhaustive = {
    .name = "exhaustive",
    .summary = "evaluates every layout of the aligned model and takes the best",
    .options = exhaustive_options,
    .needs_source = 1,
    .asks = 1,
    .check = exhaustive_check,
    .choose = exhaustive_choose,
};
