/* names.h - parameters of layers that have both mixers, "attn.gla.g_proj.weight", and of layers
 * that have one of them, "attn.g_proj.weight". What the mixers share carries no mixer's name. */
#ifndef HY_SELECTION_NAMES_H
#define HY_SELECTION_NAMES_H

#include "core/model/model.h"

/* The name without its mixer's. */
void hy_plain_name(const char *name, char out[HY_NAME_SIZE]);
/* The name with the mixer's; 0: it is no parameter of a layer's mixer. */
int hy_branch_name(const char *name, const char *branch, char out[HY_NAME_SIZE]);
/* The layer whose mixer a parameter is of; -1: none's. */
int hy_mixer_layer(const char *name);

#endif
