/* component.h - which of its terms a mixer of a window and a linear part uses (variant.h:
 * `components`): to see whether it needs each of them, and to train one of them alone.
 *
 * The effect that this shows: a hybrid converted from softmax attention can keep its score with
 * the window alone (arXiv 2510.05901). */
#ifndef HY_MIXERS_COMPONENT_H
#define HY_MIXERS_COMPONENT_H

enum hy_component {
    HY_COMPONENT_FULL,    /* the mixer as it is: softmax in the window, linear terms before it */
    HY_COMPONENT_OVERLAP, /* the window, and linear terms for all tokens so far */
    HY_COMPONENT_WINDOW,  /* the window's terms alone */
    HY_COMPONENT_LINEAR,  /* the linear terms before the window alone */
    HY_COMPONENT_DROPPED, /* linear terms for all tokens so far, no window */
    HY_COMPONENT_SINKS,   /* softmax over the first HY_SINKS tokens, nothing else */
    HY_COMPONENT_NONE,    /* nothing: the floor that others are read against */
    HY_COMPONENTS
};

enum { HY_SINKS = 8 };

extern const char hy_component_choices[]; /* "full|overlap|...": for option tables */
const char *hy_component_name(enum hy_component component);
/* HY_COMPONENTS where there is none of that name. */
enum hy_component hy_component_find(const char *name);

#endif
