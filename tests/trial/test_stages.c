/* Training in stages: what a stage does not train keeps its bits and takes no memory, an
 * interruption or a gang changes nothing, additions of low rank are merged, and each objective
 * comes nearer to its teacher. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/model/groups.h"
#include "core/model/weights.h"
#include "core/trial/engine.h"
#include "tests/support/config.h"
#include "tests/support/model_kit.h"
#include "tests/support/record.h"

static char folder[64], source[96], checkpoint[2][96];

#define MODEL                                                                                \
    "\"model\": {\"d_model\": 16, \"layers\": 2, \"heads\": 2, \"mlp\": 16},"                \
    "\"data\": {\"train\": [{\"task\": \"mqar\", \"vocab\": 32, \"pairs\": [2],"             \
    "  \"examples\": 16}]},"                                                                 \
    "\"train\": {\"steps\": 40, \"batch\": 4, \"seq_len\": 16, \"lr\": 0.01, \"seed\": %d}," \
    "\"eval\": {\"every\": 10},"

static void configure(struct hy_config *c, int seed, const char *rest)
{
    char text[4096];
    struct hy_err e = {0};
    const int head = snprintf(text, sizeof text, "{" MODEL, seed);
    snprintf(text + head, sizeof text - (size_t)head, "%s}", rest);
    if (config_from_json(text, c, &e))
        fail_msg("%s", e.text);
}

/* A trained softmax model, which the others start from and learn from. */
static int make_source(void **state)
{
    (void)state;
    struct hy_config c;
    struct trial_record r = {0};
    strcpy(folder, "stages_XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    snprintf(source, sizeof source, "%s/source.safetensors", folder);
    for (int i = 0; i < 2; i++)
        snprintf(checkpoint[i], sizeof checkpoint[i], "%s/%d.safetensors", folder, i);
    configure(&c, 0, "\"mixer\": {\"variant\": \"softmax\", \"ratio\": \"full\"}");
    record_trials(&(struct hy_trial_order){.config = &c, .checkpoint = source, .keep = 1}, 1, &r);
    hy_buf_release(&r.rows);
    hy_config_release(&c);
    return strcmp(r.end, "done") != 0;
}

static int remove_source(void **state)
{
    (void)state;
    unlink(source);
    return rmdir(folder);
}

/* Three stages of 10, 15 and 15 steps: each objective, parts of the parameters, low rank. */
static const char three_stages[] =
    "\"mixer\": {\"variant\": \"gated_deltanet\", \"ratio\": \"1:1\", \"expand_v\": 1},"
    "\"init\": {\"from\": {\"mixer.ratio\": \"full\", \"stages\": null,"
    "   \"train.seed\": 0}},"
    "\"stages\": ["
    " {\"objective\": \"output\", \"steps\": 10, \"train\": [\"mixers\", \"*mlp_norm*\"]},"
    " {\"objective\": [{\"name\": \"logits\", \"temperature\": 2},"
    "                  {\"name\": \"lm\", \"weight\": 0.5},"
    "                  {\"name\": \"output\", \"weight\": 0.1}], \"steps\": 15, \"lr\": 0.003},"
    " {\"name\": \"adapt\", \"steps\": 15, \"lora\": {\"rank\": 2,"
    "   \"on\": [\"q_proj\", \"v_proj\", \"a_proj\", \"*_proj\"]}}]";

static struct hy_trial_order order_of(const struct hy_config *c, const char *path)
{
    return (struct hy_trial_order){.config = c, .checkpoint = path, .source = source};
}

static const char *results_of(const struct trial_record *r)
{
    const char *at = strstr(r->rows.data, "\"split\":\"test\"");
    assert_non_null(at);
    return at;
}

/* Stopped in each stage, at the ends of stages (10, 25), and during evaluations (20). */
static void an_interruption_changes_nothing(void **state)
{
    (void)state;
    static const int64_t stops[] = {4, 10, 17, 20, 25, 31};
    struct hy_config c;
    struct trial_record whole = {0}, pieces = {0};
    configure(&c, 3, three_stages);
    struct hy_trial_order order = order_of(&c, NULL);
    assert_int_equal(c.train.steps, 40);
    record_trials(&order, 1, &whole);
    assert_string_equal(whole.end, "done");
    order.checkpoint = checkpoint[0];
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        pieces.stop_at = stops[i];
        record_trials(&order, 1, &pieces);
        assert_string_equal(pieces.end, "interrupted");
    }
    pieces.stop_at = 0;
    record_trials(&order, 1, &pieces);
    assert_string_equal(pieces.end, "done");
    assert_string_equal(results_of(&whole), results_of(&pieces));
    unlink(checkpoint[0]);
    hy_buf_release(&whole.rows);
    hy_buf_release(&pieces.rows);
    hy_config_release(&c);
}

/* Also where its members are in different stages: one goes on from step 31, one from the start. */
static void a_gang_equals_its_members_alone(void **state)
{
    (void)state;
    struct hy_config c[2];
    struct trial_record alone[2] = {0}, gang[2] = {0}, first = {.stop_at = 31};
    struct hy_trial_order orders[2];
    for (int i = 0; i < 2; i++) {
        configure(&c[i], 3 + i, three_stages);
        orders[i] = order_of(&c[i], NULL);
        record_trials(&orders[i], 1, &alone[i]);
    }
    record_trials(orders, 2, gang);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(gang[i].end, "done");
        assert_string_equal(gang[i].rows.data, alone[i].rows.data);
        hy_buf_release(&gang[i].rows);
        orders[i].checkpoint = checkpoint[i];
    }
    record_trials(orders, 1, &first);
    assert_string_equal(first.end, "interrupted");
    memset(gang, 0, sizeof gang);
    record_trials(orders, 2, gang);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(gang[i].end, "done");
        assert_string_equal(results_of(&gang[i]), results_of(&alone[i]));
        unlink(checkpoint[i]);
        hy_buf_release(&gang[i].rows);
        hy_buf_release(&alone[i].rows);
        hy_config_release(&c[i]);
    }
    hy_buf_release(&first.rows);
}

/* The gang is stopped while one member waits for the other at the end of its stage. */
static void a_member_that_waits_can_be_interrupted(void **state)
{
    (void)state;
    struct hy_config c[2];
    struct trial_record alone[2] = {0}, gang[2] = {0}, first = {.stop_at = 7};
    struct hy_trial_order orders[2];
    for (int i = 0; i < 2; i++) {
        configure(&c[i], 5 + i, three_stages);
        orders[i] = order_of(&c[i], NULL);
        record_trials(&orders[i], 1, &alone[i]);
        orders[i].checkpoint = checkpoint[i];
    }
    record_trials(orders, 1, &first);
    gang[1].stop_at = 6; /* the first one is at its stage's end since the other's step 3 */
    record_trials(orders, 2, gang);
    for (int i = 0; i < 2; i++)
        assert_string_equal(gang[i].end, "interrupted");
    for (int i = 0; i < 2; i++) {
        struct trial_record rest = {0};
        record_trials(&orders[i], 1, &rest);
        assert_string_equal(rest.end, "done");
        assert_string_equal(results_of(&rest), results_of(&alone[i]));
        unlink(checkpoint[i]);
        hy_buf_release(&rest.rows);
        hy_buf_release(&gang[i].rows);
        hy_buf_release(&alone[i].rows);
        hy_config_release(&c[i]);
    }
    hy_buf_release(&first.rows);
}

/* The weights of a run of one stage, as its last checkpoint has them. */
static void train_stage(const char *rest, struct hy_weights *out)
{
    struct hy_config c;
    struct hy_err e;
    struct trial_record r = {0};
    configure(&c, 0, rest);
    struct hy_trial_order order = order_of(&c, checkpoint[0]);
    order.keep = 1;
    record_trials(&order, 1, &r);
    assert_string_equal(r.end, "done");
    assert_int_equal(hy_weights_open(checkpoint[0], out, &e), HY_OK);
    unlink(checkpoint[0]);
    hy_buf_release(&r.rows);
    hy_config_release(&c);
}

static void what_is_not_trained_keeps_its_bits(void **state)
{
    (void)state;
    struct hy_weights before, after;
    struct hy_err e;
    int kept = 0, changed = 0;
    assert_int_equal(hy_weights_open(source, &before, &e), HY_OK);
    train_stage("\"mixer\": {\"variant\": \"softmax\", \"ratio\": \"full\"}, \"init\": {\"from\": "
                "{\"stages\": null}},"
                "\"stages\": [{\"train\": [\"norms\", \"model.layers.1.attn.k_proj*\"]}]",
                &after);
    for (size_t i = 0; i < after.files->tensor_count; i++) {
        const struct hy_st_tensor *t = &after.files->tensors[i];
        const int trained =
            hy_group_has("norms", t->name) || !strcmp(t->name, "model.layers.1.attn.k_proj.weight");
        if (!strncmp(t->name, "optimizer.", 10)) {
            assert_true(strstr(t->name, "norm") || strstr(t->name, "layers.1.attn.k_proj"));
            continue;
        }
        const struct hy_st_tensor *old = hy_weights_find(&before, t->name);
        assert_non_null(old);
        const int equal = !memcmp(t->data, old->data, (size_t)hy_st_count(t) * sizeof(float));
        if (equal == trained)
            fail_msg("%s %s", t->name, equal ? "was not trained" : "has changed");
        kept += equal;
        changed += !equal;
    }
    assert_true(kept > 10 && changed == 6);
    hy_weights_close(&before);
    hy_weights_close(&after);
}

static void plan_of(const char *rest, struct hy_trainer_bytes *bytes, int64_t *params)
{
    struct hy_config c;
    struct hy_engine x;
    struct hy_err e;
    configure(&c, 0, rest);
    const struct hy_engine_plan plan = {
        .configs = (const struct hy_config *[]){&c}, .count = 1, .dry = 1};
    if (hy_engine_init(&x, &plan, &e))
        fail_msg("%s", e.text);
    *bytes = x.trainer.bytes;
    for (int i = 0; i < x.trainer.params.entry_count; i++)
        *params += hy_group_has("mlp", x.trainer.params.entries[i].name)
                       ? x.trainer.params.entries[i].count
                       : 0;
    hy_engine_release(&x);
    hy_config_release(&c);
}

static void what_is_not_trained_takes_no_memory(void **state)
{
    (void)state;
    struct hy_trainer_bytes all, mlp;
    int64_t ignored = 0, params = 0;
    plan_of("\"mixer\": {\"variant\": \"kda\", \"ratio\": \"pure\"}", &all, &ignored);
    plan_of("\"mixer\": {\"variant\": \"kda\", \"ratio\": \"pure\"}, \"stages\": [{\"train\": "
            "[\"mlp\"]}]",
            &mlp, &params);
    assert_int_equal(params, 2 * 3 * 16 * 16);
    assert_int_equal(all.params, mlp.params);
    assert_int_equal(mlp.optimizer, 2 * params * (int64_t)sizeof(hy_real));
    assert_int_equal(mlp.gradients, params * (int64_t)sizeof(hy_real));
    assert_int_equal(all.optimizer - mlp.optimizer,
                     2 * (all.params - params * (int64_t)sizeof(hy_real)));
    assert_true(mlp.activations < all.activations);
}

/* Logits of a kit's model whose projections have additions that are not zero. */
static float *logits_of(struct kit *k, const struct hy_lora *lora)
{
    enum { BATCH = 2, TOKENS = 12 };
    struct hy_model_ends ends;
    k->spec.lora = lora;
    struct hy_graph *g = kit_graph(k, HY_EVAL, BATCH, TOKENS, 0, NULL, &ends, NULL, 5);
    for (int i = 0; i < BATCH * TOKENS; i++)
        ((int32_t *)hy_input(ends.tokens, 0))[i] = kit_token(1, i);
    if (lora)
        for (int i = 0; i < k->params.entry_count; i++) {
            const struct hy_entry *entry = &k->params.entries[i];
            for (int64_t j = 0; strstr(entry->name, "lora_B") && j < entry->count; j++)
                k->params.data[entry->offset + j] = .02f * sinf((float)(j + i));
        }
    hy_graph_run(g, NULL);
    const size_t count = (size_t)(ends.logits->rows * ends.logits->cols);
    float *out = malloc(count * sizeof *out);
    assert_non_null(out);
    for (int64_t r = 0; r < ends.logits->rows; r++)
        memcpy(out + r * ends.logits->cols, hy_real_data(ends.logits, 0) + r * ends.logits->ld,
               (size_t)ends.logits->cols * sizeof *out);
    hy_graph_free(g);
    return out;
}

static void merged_equals_unmerged(struct kit *k, const char *name)
{
    enum { LOGITS = 2 * 12 * SMALL_VOCAB };
    struct hy_err e;
    struct hy_value *on = hy_value_list();
    hy_value_append(on, hy_value_string("*_proj"), &e);
    hy_value_append(on, hy_value_string("gk_proj.0"), &e);
    const struct hy_lora lora = {8, 16, on};
    k->spec.init_std = .02; /* as models start: larger weights enlarge what rounding makes */
    float *with = logits_of(k, &lora);
    assert_int_equal(hy_lora_merge(&k->params, 0, &lora, &e), HY_OK);
    for (int i = 0; i < k->params.entry_count; i++)
        for (int64_t j = 0;
             strstr(k->params.entries[i].name, "lora_B") && j < k->params.entries[i].count; j++)
            assert_true(k->params.data[k->params.entries[i].offset + j] == 0);
    float *merged = logits_of(k, NULL);
    double apart = 0, size = 0;
    for (int i = 0; i < LOGITS; i++) {
        apart += pow((double)with[i] - (double)merged[i], 2);
        size += pow((double)with[i], 2);
    }
    if (!(sqrt(apart / size) < 1e-5))
        fail_msg("%s: merged and unmerged differ by %g", name, sqrt(apart / size));
    free(with);
    free(merged);
    hy_value_free(on);
    kit_release(k);
}

static void low_rank_additions_merge(void **state)
{
    (void)state;
    for (int i = 0; hy_variants[i]; i++) {
        struct kit k;
        kit_init(&k, hy_variants[i], NULL, hy_variants[i]->full ? "FF" : "LF", 1);
        merged_equals_unmerged(&k, hy_variants[i]->name);
    }
    for (const char *const *path = kit_sweeps(); *path; path++) {
        struct kit k;
        kit_init_sweep(&k, *path, 1);
        merged_equals_unmerged(&k, *path);
    }
}

/* The first and the last training loss of a run with these stages. */
static void losses_of(const char *rest, double *first, double *last)
{
    struct hy_config c;
    struct trial_record r = {0};
    configure(&c, 0, rest);
    const struct hy_trial_order order = order_of(&c, NULL);
    record_trials(&order, 1, &r);
    assert_string_equal(r.end, "done");
    *first = *last = NAN;
    char *at = r.rows.data;
    for (char *line; (line = strsep(&at, "\n")) && *line;)
        if (strstr(line, "train.loss")) {
            *last = strtod(strstr(line, "\"value\":") + 8, NULL);
            *first = isnan(*first) ? *last : *first;
        }
    hy_buf_release(&r.rows);
    hy_config_release(&c);
}

static void losses_add_up_by_their_weights(void **state)
{
    (void)state;
    double first, last, whole_first, whole_last;
    losses_of("\"mixer\": {\"variant\": \"gla\", \"ratio\": \"pure\"}", &whole_first, &whole_last);
    losses_of("\"mixer\": {\"variant\": \"gla\", \"ratio\": \"pure\"},"
              "\"stages\": [{\"objective\": [{\"name\": \"lm\", \"weight\": 0.25},"
              "  {\"name\": \"lm\", \"weight\": 0.75}]}]",
              &first, &last);
    assert_true(whole_first > 1 && fabs(first / whole_first - 1) < 1e-5);
    assert_true(fabs(last / whole_last - 1) < 1e-3);
}

/* A student of the teacher's own weights is at no distance from it, and one of random weights comes
 * nearer. */
static void students_come_nearer_to_their_teacher(void **state)
{
    (void)state;
    static const char *const objectives[] = {"logits", "output"};
    for (int i = 0; i < 2; i++)
        for (int copied = 0; copied < 2; copied++) {
            char rest[512];
            double first, last;
            snprintf(rest, sizeof rest,
                     "\"mixer\": {\"variant\": \"softmax\", \"ratio\": \"full\"},"
                     "\"init\": {\"from\": {\"stages\": null}%s},"
                     "\"stages\": [{\"objective\": \"%s\"}]",
                     copied ? "" : ", \"map\": {\"model.layers.*\": null}", objectives[i]);
            losses_of(rest, &first, &last);
            if (copied ? !(first < 1e-10) : !(last < .5 * first))
                fail_msg("%s%s: from %g to %g", objectives[i], copied ? " of a copy" : "", first,
                         last);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interruption_changes_nothing),
        cmocka_unit_test(a_gang_equals_its_members_alone),
        cmocka_unit_test(a_member_that_waits_can_be_interrupted),
        cmocka_unit_test(what_is_not_trained_keeps_its_bits),
        cmocka_unit_test(what_is_not_trained_takes_no_memory),
        cmocka_unit_test(low_rank_additions_merge),
        cmocka_unit_test(losses_add_up_by_their_weights),
        cmocka_unit_test(students_come_nearer_to_their_teacher),
    };
    return cmocka_run_group_tests(tests, make_source, remove_source);
}
