/* stopping.h - a rule that may end a run before its last step (`run.stop`): its goal is reached, or
 * it has stopped getting better. Looks at evaluations on validation data alone. */
#ifndef HY_TRIAL_STOPPING_H
#define HY_TRIAL_STOPPING_H

#include "core/model/checkpoint.h"
#include "core/config/config.h"

/* Takes the score of an evaluation into account. */
void hy_stopping_see(const struct hy_stop_rule *rule, double score, struct hy_trained *t);

/* 1 with the reason in text when the run is to end now. It follows from *t alone, so that a resumed
 * run ends where an uninterrupted one does. */
int hy_stopping_now(const struct hy_stop_rule *rule, const struct hy_trained *t, char *text,
                    size_t size);

#endif
