/* checkpoint.h - the state of a training run in one safetensors file.
 *
 * Parameters stand under their public names, so that the file loads elsewhere as a state dict;
 * moments, of what is trained, as optimizer.m.<name> and optimizer.v.<name>, weights that the run
 * will return to as base.<name>. A teacher's are left out, and low-rank additions once the run is
 * complete. A file holds one replica, so that a run may go on in another gang or alone. Metadata:
 * the fields of hy_trained, key (of the run), checksum (of all tensors), state_checksum (of the
 * metadata). A file appears as a whole or not at all (written beside, synced, renamed). */
#ifndef HY_MODEL_CHECKPOINT_H
#define HY_MODEL_CHECKPOINT_H

#include "core/base/buf.h"
#include "core/model/optimizer.h"
#include "core/model/snapshot.h"

struct hy_trained {
    int64_t step;   /* steps done */
    int stage;      /* of training, in which the last of them was; from 0 */
    double seconds; /* of training, all attempts together */
    /* Evaluations during training: the last one's step; the best score that a rule for stopping
     * has seen (NaN: none) and how many evaluations have followed it. */
    int64_t judged;
    double best;
    int stale;
    int complete;          /* it has taken its last step */
    struct hy_buf history; /* rows (core/base/row.h) that tell how it went so far; owned */
    /* Of a run that selects its layers, else empty: */
    struct hy_buf selection; /* what it has found so far, as text; owned */
    struct hy_snapshot base; /* weights that it returns to; owned */
};
void hy_trained_release(struct hy_trained *t);

/* HY_E_ENV when it cannot be written (no space, no permission); an older checkpoint is then intact.
 */
int hy_checkpoint_save(const char *path, const char *key, const struct hy_trained *trained,
                       const struct hy_slab *params, const struct hy_adamw *opt, int replica,
                       struct hy_err *e);

/* Fills the replica's params and opt, and trained; they are untouched on failure. A file that is
 * damaged, or belongs to another run or model, is HY_E_USAGE. */
int hy_checkpoint_load(const char *path, const char *key, struct hy_trained *trained,
                       struct hy_slab *params, struct hy_adamw *opt, int replica, struct hy_err *e);

/* What a checkpoint tells but for its tensors: all fields of *out but base. key: of the run that it
 * must be of; NULL: any. Release *out; it is untouched on failure. */
int hy_checkpoint_peek(const char *path, const char *key, struct hy_trained *out, struct hy_err *e);
/* Whether path is a checkpoint whose run was complete. */
int hy_checkpoint_is_complete(const char *path);

#endif
