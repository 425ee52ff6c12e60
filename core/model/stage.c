#include "core/model/stage.h"

#include <string.h>

#include "core/model/groups.h"

const struct hy_objective *hy_objective_find(const char *name)
{
    for (int i = 0; hy_objectives[i]; i++)
        if (!strcmp(hy_objectives[i]->name, name))
            return hy_objectives[i];
    return NULL;
}

int hy_objective_is_forced(const struct hy_objective *o, const struct hy_value *options)
{
    return o->is_forced || hy_get_bool_or(options, "forced", 0);
}

int hy_stage_needs_teacher(const struct hy_stage *s)
{
    int needs = 0;
    for (int i = 0; i < s->objective_count; i++)
        needs |= s->objectives[i].objective->needs_teacher;
    return needs;
}

int hy_stage_is_forced(const struct hy_stage *s)
{
    int forced = 0;
    for (int i = 0; i < s->objective_count; i++)
        forced |= hy_objective_is_forced(s->objectives[i].objective, s->objectives[i].options);
    return forced;
}

double hy_stage_dropout(const struct hy_stage *s, int64_t step)
{
    return s->dropout_count ? s->window_dropout[step * s->dropout_count / s->steps] : 0;
}

static int trains_all(const struct hy_stage *s)
{
    for (size_t i = 0; s->trains && i < s->trains->count; i++)
        if (!strcmp(s->trains->items[i]->string, "all"))
            return 1;
    return !s->trains;
}

int hy_stage_is_plain(const struct hy_stage *s)
{
    return trains_all(s) && s->objective_count == 1 &&
           !strcmp(s->objectives[0].objective->name, "lm");
}

int hy_stage_trains(const struct hy_stage *s, const char *parameter)
{
    if (!strncmp(parameter, HY_TEACHER_PREFIX, strlen(HY_TEACHER_PREFIX)))
        return 0;
    if (!s->trains)
        return 1;
    for (size_t i = 0; i < s->trains->count; i++)
        if (hy_group_has(s->trains->items[i]->string, parameter))
            return 1;
    return 0;
}
