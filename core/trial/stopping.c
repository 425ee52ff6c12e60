#include "core/trial/stopping.h"

#include <math.h>
#include <stdio.h>

void hy_stopping_see(const struct hy_stop_rule *rule, double score, struct hy_trained *t)
{
    if (isnan(t->best) || hy_metric_is_better(rule->metric, score, t->best)) {
        t->best = score;
        t->stale = 0;
    } else {
        t->stale++;
    }
}

int hy_stopping_now(const struct hy_stop_rule *rule, const struct hy_trained *t, char *text,
                    size_t size)
{
    const char *metric = hy_metric_name(rule->metric);
    if (!rule->metric || isnan(t->best))
        return 0;
    if (rule->at && !hy_metric_is_better(rule->metric, rule->at, t->best)) {
        snprintf(text, size, "%s %.4g reached %.4g at step %lld", metric, t->best, rule->at,
                 (long long)t->step);
        return 1;
    }
    if (rule->patience && t->stale >= rule->patience) {
        snprintf(text, size, "%s %.4g has not improved in %d evaluations, at step %lld", metric,
                 t->best, t->stale, (long long)t->step);
        return 1;
    }
    return 0;
}
