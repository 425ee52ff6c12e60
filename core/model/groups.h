/* groups.h - parameters by what they are for: what a stage of training names when it says what is
 * trained. A group is a set of patterns of public names. */
#ifndef HY_MODEL_GROUPS_H
#define HY_MODEL_GROUPS_H

struct hy_group {
    const char *name, *help;
    const char *const *patterns;     /* of the names that belong to it, ended by NULL */
    const char *const *not_patterns; /* of those that yet do not, or NULL */
};
extern const struct hy_group hy_groups[]; /* ended by a name of NULL */

const struct hy_group *hy_group_find(const char *name); /* or NULL */
/* Whether a parameter belongs to a group, or, where there is none of that name, fits a pattern. */
int hy_group_has(const char *group_or_pattern, const char *parameter);

#endif
