/* setting.h - what tells the cells of selections apart, as people read it. */
#ifndef HY_REPORT_SETTING_H
#define HY_REPORT_SETTING_H

#include <stddef.h>

/* "form=soft metric=recall" of a label (view labels) of a run that selects its layers: without what
 * tables say in columns of their own (method, tolerance, budget), without numbers of steps that
 * follow from others, and without values that stand for themselves (auto). NULL stays NULL. Returns
 * text. */
const char *hy_setting_of_selection(const char *label, char *text, size_t size);

#endif
