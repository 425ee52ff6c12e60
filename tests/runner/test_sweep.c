/* Laws of sweep files: from YAML to runs and their keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "runner/plan/plan.h"
#include "tests/support/config.h"

static char folder[] = "/tmp/hylas-sweep-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) && !chdir(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink("s.yaml");
    unlink("a.txt");
    unlink("b.txt");
    return rmdir(folder);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* The plan of a sweep text with values set. */
static int plan(const char *text, const char *const *sets, size_t count, struct hy_plan *p,
                struct hy_err *e)
{
    struct hy_sweep sweep = {0};
    write_file("s.yaml", text);
    int rc = hy_sweep_load("s.yaml", sets, count, &sweep, e);
    if (!rc)
        rc = hy_plan_make(&sweep, p, e);
    hy_sweep_release(&sweep);
    return rc;
}

static struct hy_plan plan_of(const char *text)
{
    struct hy_plan p = {0};
    struct hy_err e;
    if (plan(text, NULL, 0, &p, &e))
        fail_msg("%s", e.text);
    return p;
}

static int has_key(const struct hy_plan *p, const char *key)
{
    for (int i = 0; i < p->count; i++)
        if (!strcmp(p->runs[i].key, key))
            return 1;
    return 0;
}

#define BASE                                                 \
    "model: {d_model: 32, layers: 4, heads: 2, mlp: 64}\n"   \
    "data: {train: [{task: mqar, vocab: 32, pairs: [2]}]}\n" \
    "train: {steps: 10, batch: 2, seq_len: 16}\n"
#define GLA BASE "mixer: {variant: gla, ratio: \"1:1\"}\n"

static void the_matrix_is_the_product_in_order(void **state)
{
    (void)state;
    struct hy_plan p = plan_of(GLA "matrix:\n  train.lr: [1e-3, 3e-3]\n  train.seed: [0, 1, 2]\n");
    assert_int_equal(p.count, 6);
    assert_string_equal(p.runs[0].title, "gla 1:1 lr=0.001 seed=0");
    assert_string_equal(p.runs[1].title, "gla 1:1 lr=0.001 seed=1");
    assert_string_equal(p.runs[5].title, "gla 1:1 lr=0.003 seed=2");
    hy_plan_release(&p);
}

static void a_title_names_what_else_varies(void **state)
{
    (void)state;
    struct hy_plan p = plan_of(GLA "matrix: {model.d_model: [32, 64]}\n");
    assert_string_equal(p.runs[1].title, "gla 1:1 lr=0.001 seed=0 d_model=64");
    hy_plan_release(&p);
}

static void excluded_combinations_are_gone_and_included_runs_are_added(void **state)
{
    (void)state;
    struct hy_plan p = plan_of(GLA "matrix:\n"
                                   "  mixer.ratio: [pure, \"3:1\", full]\n"
                                   "  train.seed: [0, 1]\n"
                                   "  exclude: [{mixer.ratio: full, train.seed: 1}]\n"
                                   "  include: [{mixer.ratio: \"2:1\", train.seed: 7}]\n");
    assert_int_equal(p.count, 6);
    assert_string_equal(p.runs[5].title, "gla 2:1 lr=0.001 seed=7");
    for (int i = 0; i < p.count; i++)
        assert_string_not_equal(p.runs[i].title, "softmax full lr=0.001 seed=1");
    hy_plan_release(&p);
}

static void a_matrix_of_includes_has_no_other_runs(void **state)
{
    (void)state;
    struct hy_plan p = plan_of(GLA "matrix: {include: [{train.seed: 3}, {train.seed: 4}]}\n");
    assert_int_equal(p.count, 2);
    assert_int_equal(p.runs[1].config.train.seed, 4);
    hy_plan_release(&p);
}

static void adding_a_value_keeps_the_other_keys(void **state)
{
    (void)state;
    struct hy_plan few = plan_of(GLA "matrix: {train.lr: [1e-3, 3e-3], train.seed: [0, 1]}\n");
    struct hy_plan more =
        plan_of(GLA "matrix: {train.seed: [2, 1, 0], train.lr: [3.0e-3, 0.001, 1e-2]}\n");
    assert_int_equal(more.count, 9);
    for (int i = 0; i < few.count; i++)
        assert_true(has_key(&more, few.runs[i].key));
    hy_plan_release(&few);
    hy_plan_release(&more);
}

static void an_evaluation_length_is_part_of_the_key(void **state)
{
    (void)state;
    static const char *const entries[] = {"", ", seq_len: 16", ", seq_len: 32"};
    struct hy_plan plans[3];
    for (int i = 0; i < 3; i++) {
        char text[1024];
        snprintf(text, sizeof text,
                 "model: {d_model: 32, layers: 4, heads: 2, mlp: 64}\n"
                 "data: {train: [{task: mqar, vocab: 32, pairs: [2]}], eval: [{task: mqar%s}]}\n"
                 "train: {steps: 10, batch: 2, seq_len: 16}\n"
                 "mixer: {variant: gla, ratio: \"1:1\"}\n",
                 entries[i]);
        plans[i] = plan_of(text);
    }
    assert_string_equal(plans[0].runs[0].key, plans[1].runs[0].key);
    assert_string_not_equal(plans[0].runs[0].key, plans[2].runs[0].key);
    for (int i = 0; i < 3; i++)
        hy_plan_release(&plans[i]);
}

static void a_full_model_is_one_run_under_every_variant_ratio_and_placement(void **state)
{
    (void)state;
    struct hy_plan p = plan_of(BASE "matrix:\n"
                                    "  mixer.variant: [gla, retnet, softmax]\n"
                                    "  mixer.ratio: [full]\n"
                                    "  mixer.placement: [interleave, last]\n");
    assert_int_equal(p.count, 1);
    assert_int_equal(p.combinations, 6);
    struct hy_plan bare = plan_of(BASE "mixer: {ratio: full}\n");
    assert_string_equal(bare.runs[0].key, p.runs[0].key);
    struct hy_plan softmax = plan_of(BASE "mixer: {variant: softmax, ratio: \"3:1\"}\n");
    assert_string_equal(softmax.runs[0].key, p.runs[0].key);
    assert_string_equal(hy_config_layout(&softmax.runs[0].config).text, "FFFF");
    hy_plan_release(&softmax);
    hy_plan_release(&bare);
    hy_plan_release(&p);
}

static void a_pure_model_has_no_placement_and_no_full_mixer(void **state)
{
    (void)state;
    struct hy_plan p = plan_of(BASE "mixer: {variant: gla, ratio: pure}\n"
                                    "matrix: {mixer.placement: [interleave, first]}\n");
    assert_int_equal(p.count, 1);
    assert_int_equal(p.runs[0].config.layers.kinds[HY_FULL].branch_count, 0);
    hy_plan_release(&p);
}

static void keys_ignore_spelling_and_what_does_not_change_results(void **state)
{
    (void)state;
    struct hy_plan p = plan_of(GLA);
    static const char *const same[] = {
        GLA "run: {threads: 2, timeout: 2h, retries: 5}\neval: {every: 5}\nname: another\n",
        GLA "matrix: {train.lr: [0.001]}\n",
        GLA "matrix: {train.steps: [1e1], train.weight_decay: [1.0e-1]}\n",
        GLA "matrix: {mixer.gate_rank: [16.0]}\n",
        GLA "matrix: {train.precision: [float32]}\n",
        GLA "eval: {contexts: 16}\nfull: {variant: softmax}\n",
        BASE "mixer: {variant: gla, layers: [1, 3]}\n",
        "model: {d_model: 32, layers: 4, heads: 2, mlp: 64}\n"
        "data: {train: [{task: mqar, vocab: 32, pairs: 2, weight: 9}], eval: [{task: mqar}]}\n"
        "train: {steps: 10, batch: 2, seq_len: 16}\nmixer: {variant: gla, ratio: \"1:1\"}\n",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        struct hy_plan other = plan_of(same[i]);
        if (strcmp(other.runs[0].key, p.runs[0].key) != 0)
            fail_msg("another key: %s", same[i]);
        hy_plan_release(&other);
    }
    static const char *const other_sets[] = {
        "train.lr=2e-3",    "train.seed=1",      "train.steps=11",
        "model.d_model=64", "mixer.gate_rank=8", "mixer.placement=first",
        "eval.contexts=32", "train.clip=0",      "train.precision=bf16",
    };
    for (size_t i = 0; i < sizeof other_sets / sizeof *other_sets; i++) {
        struct hy_plan other = {0};
        struct hy_err e;
        if (plan(GLA, &other_sets[i], 1, &other, &e))
            fail_msg("%s", e.text);
        assert_string_not_equal(other.runs[0].key, p.runs[0].key);
        hy_plan_release(&other);
    }
    hy_plan_release(&p);
}

static void a_corpus_counts_by_its_content_not_by_its_path(void **state)
{
    (void)state;
    static const char text[] = "model: {d_model: 32, layers: 2, heads: 2, mlp: 64}\n"
                               "mixer: {ratio: full}\ndata: {train: [{task: text, path: a.txt}]}\n";
    const char *const other_path[] = {"data.train=[{task: text, path: b.txt}]"};
    struct hy_plan a, b = {0}, c = {0};
    struct hy_err e;
    write_file("a.txt", "one corpus");
    write_file("b.txt", "one corpus");
    a = plan_of(text);
    assert_int_equal(plan(text, other_path, 1, &b, &e), 0);
    assert_string_equal(a.runs[0].key, b.runs[0].key);
    write_file("b.txt", "two corpora");
    assert_int_equal(plan(text, other_path, 1, &c, &e), 0);
    assert_string_not_equal(a.runs[0].key, c.runs[0].key);
    hy_plan_release(&a);
    hy_plan_release(&b);
    hy_plan_release(&c);
}

static void options_of_some_variants_are_dropped_for_the_others(void **state)
{
    (void)state;
    struct hy_plan p = plan_of(BASE "mixer: {ratio: pure}\nmatrix:\n"
                                    "  mixer.variant: [gla, retnet]\n"
                                    "  mixer.gate_rank: [4, 8]\n");
    assert_int_equal(p.count, 3); /* two of gla, one of retnet */
    hy_plan_release(&p);
}

static void options_of_an_included_variant_are_dropped_where_the_default_rules(void **state)
{
    (void)state;
    struct hy_plan p = plan_of(GLA "full: {gate: elementwise}\n"
                                   "matrix:\n"
                                   "  train.seed: [1]\n"
                                   "  include: [{full.variant: gated_softmax}]\n");
    assert_int_equal(p.count, 2);
    assert_string_equal(p.runs[0].config.layers.kinds[HY_FULL].branches[0].variant->name,
                        "softmax");
    assert_string_equal(p.runs[1].config.layers.kinds[HY_FULL].branches[0].variant->name,
                        "gated_softmax");
    hy_plan_release(&p);
    p = plan_of(BASE "mixer: {ratio: full, window: 8}\n"
                     "matrix:\n"
                     "  train.seed: [1]\n"
                     "  include: [{mixer.variant: sliding_window, mixer.ratio: pure}]\n");
    assert_int_equal(p.count, 2);
    hy_plan_release(&p);
}

static void set_values_win_over_file_and_matrix(void **state)
{
    (void)state;
    const char *const sets[] = {"train.lr=0.5", "train.steps=7", "eval.contexts=[8, 16]",
                                "mixer.ratio=3:1"};
    struct hy_plan p = {0};
    struct hy_err e;
    assert_int_equal(plan(GLA "matrix: {train.lr: [1e-3, 3e-3]}\n", sets, 4, &p, &e), 0);
    assert_int_equal(p.count, 1);
    assert_float_equal(p.runs[0].config.train.lr, 0.5, 0);
    assert_int_equal(p.runs[0].config.train.steps, 7);
    assert_int_equal(p.runs[0].config.eval.context_count, 2);
    assert_string_equal(hy_config_layout(&p.runs[0].config).text, "LLLF");
    hy_plan_release(&p);
}

static void evaluation_inherits_from_training(void **state)
{
    (void)state;
    struct hy_plan p = plan_of("mixer: {ratio: full}\ntrain: {seq_len: 64}\n"
                               "data:\n  train: [{task: mqar, weight: 2, vocab: 64, pairs: 4}]\n"
                               "  eval: [{task: mqar, pairs: [4, 8]}, {task: mqar}]\n");
    const struct hy_config *c = &p.runs[0].config;
    assert_int_equal(c->data.eval_count, 2);
    assert_int_equal(hy_get_int(c->data.eval[0].options, "vocab"), 64);
    assert_int_equal(hy_get_list(c->data.eval[0].options, "pairs")->count, 2);
    assert_int_equal(hy_get_list(c->data.eval[1].options, "pairs")->count, 1);
    assert_float_equal(c->data.train[0].weight, 2, 0);
    hy_plan_release(&p);
}

static void a_resolved_configuration_resolves_to_itself(void **state)
{
    (void)state;
    static const char *const texts[] = {
        GLA,
        BASE "mixer: {variant: gla, ratio: pure}\n",
        BASE "mixer: {ratio: full}\n",
        GLA "matrix: {train.precision: [bf16]}\n",
        BASE "mixer: {variant: softmax, ratio: \"1:1\"}\n",
        BASE "mixer: {variant: gla, layers: [0]}\nrun: {timeout: 90s, keep_checkpoint: true}\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct hy_plan p = plan_of(texts[i]);
        struct hy_config again;
        struct hy_err e;
        char key[HY_HASH_TEXT], *json = hy_value_to_json(p.runs[0].config.tree, 0);
        if (config_from_json(json, &again, &e))
            fail_msg("%s", e.text);
        char *json_again = hy_value_to_json(again.tree, 0);
        assert_string_equal(json, json_again);
        assert_int_equal(hy_config_key(&again, NULL, key, &e), 0);
        assert_string_equal(key, p.runs[0].key);
        free(json_again);
        free(json);
        hy_config_release(&again);
        hy_plan_release(&p);
    }
}

static void the_mlp_has_its_usual_width_by_default_and_none_with_0(void **state)
{
    (void)state;
    struct hy_plan p = plan_of("model: {d_model: 1024}\nmixer: {ratio: full}\n"
                               "data: {train: [{task: mqar}]}\n");
    assert_int_equal(p.runs[0].config.model.mlp, 2816);
    hy_plan_release(&p);
    p = plan_of("model: {d_model: 16, layers: 1, heads: 1, mlp: 0}\nmixer: {ratio: full}\n"
                "data: {train: [{task: mqar, vocab: 16, pairs: 2}]}\n");
    struct hy_err e;
    assert_int_equal(hy_plan_estimate(&p, &e), HY_OK);
    /* Embedding, head, two norms, queries, keys, values and output. */
    assert_int_equal(p.runs[0].estimate.params, 2 * 16 * 16 + 2 * 16 + 4 * 16 * 16);
    hy_plan_release(&p);
}

static void a_cache_larger_than_memory_is_refused_with_the_context_that_fits(void **state)
{
    (void)state;
    struct hy_plan p = plan_of("model: {d_model: 4096, layers: 128, mlp: 8}\n"
                               "mixer: {ratio: full}\n"
                               "data: {train: [{task: mqar, vocab: 16, pairs: 2}]}\n"
                               "train: {batch: 1, seq_len: 16}\n"
                               "eval: {contexts: [16, 16777216]}\n");
    struct hy_err e = {0};
    assert_int_equal(hy_plan_estimate(&p, &e), HY_E_USAGE);
    /* 2 x 4096 elements of 4 bytes per token in each of 128 layers. */
    assert_non_null(strstr(e.text, "s.yaml:5:18: eval.contexts 16777216: the cache of one sequence "
                                   "takes 70368744177664 bytes, more than the "));
    assert_non_null(strstr(e.text, "holds at most "));
    hy_plan_release(&p);
}

static void a_sequence_that_levels_do_not_reach_is_refused(void **state)
{
    static const struct {
        int levels;
        const char *says;
    } bad[] = {
        {6, "levels 6 reaches 32 tokens, not 64; 7 does"},
        {7, "levels 7 reaches 64 tokens, not 1000; 11 does"},
        {11, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "model: {d_model: 32, layers: 1}\n"
                 "mixer: {variant: log_linear_mamba2, ratio: pure, levels: %d}\n"
                 "data: {train: [{task: mqar, vocab: 16, pairs: 2}]}\n"
                 "train: {batch: 1, seq_len: 64}\n"
                 "eval: {contexts: [16, 1000]}\n",
                 bad[i].levels);
        struct hy_plan p = plan_of(text);
        struct hy_err e = {0};
        assert_int_equal(hy_plan_estimate(&p, &e), bad[i].says ? HY_E_USAGE : HY_OK);
        if (bad[i].says && !strstr(e.text, bad[i].says))
            fail_msg("levels %d: %s", bad[i].levels, e.text);
        hy_plan_release(&p);
    }
}

static void what_is_wrong_is_named_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "empty"},
        {"- 1\n", "map of sections"},
        {"a: [1\n", "s.yaml:2:1: not YAML"},
        {"a: 1\n---\nb: 2\n", "only one document"},
        {"a: &x 1\n", "s.yaml:1:4: anchors"},
        {"a: *x\n", "s.yaml:1:4: aliases"},
        {"a: !!str 1\n", "s.yaml:1:4: tags"},
        {"a: {b: 1, b: 2}\n", "s.yaml:1:11: duplicate key 'b'"},
        {"? [1]\n: 2\n", "a key must be a plain word"},
        {GLA "trian: {steps: 1}\n", "s.yaml:5:1: unknown section 'trian'; did you mean 'train'?"},
        {GLA "run:\n  therads: 2\n", "s.yaml:6:3: unknown key in section run: 'therads'; did you "
                                     "mean 'threads'?"},
        {GLA "run: 3\n", "s.yaml:5:6: section run must be a map"},
        {GLA "matrix: {train.lrr: [1]}\n", "s.yaml:5:10: unknown key in section train: 'lrr'"},
        {GLA "matrix: {trian.lr: [1]}\n", "s.yaml:5:10: unknown section 'trian'"},
        {GLA "matrix: {train.lr: 1}\n", "s.yaml:5:10: train.lr: an axis of the matrix is a list"},
        {GLA "matrix: {train.lr: []}\n", "is a list of values"},
        {GLA "matrix: {train.steps.x: [1]}\n", "cannot set train.steps.x: steps is not a section"},
        {GLA "matrix: {train..lr: [1]}\n", "is no dotted path"},
        {GLA "matrix: [1]\n", "s.yaml:5:9: matrix: must be a map"},
        {GLA "matrix: {train.lr: [1], exclude: [{train.lrs: 1}]}\n",
         "s.yaml:5:36: unknown key in exclude: 'train.lrs'; did you mean 'train.lr'?"},
        {GLA "matrix: {include: [{train.sed: 1}]}\n", "s.yaml:5:21: unknown key in section train"},
        {GLA "matrix: {train.lr: [1], exclude: [{train.lr: 1}]}\n", "everything is excluded"},
        {GLA "matrix: {mixer.variant: [gla, gal]}\n",
         "s.yaml:5:31: unknown variant 'gal'; did you mean 'gla'?"},
        {GLA "matrix: {mixer.variant: [retnet, gal], mixer.gate_rank: [1]}\n",
         "s.yaml:5:34: unknown variant 'gal'; did you mean 'gla'?"},
        {GLA "matrix: {mixer.gate_rnk: [1]}\n",
         "s.yaml:5:10: unknown key in section mixer: 'gate_rnk'; did you mean 'gate_rank'?"},
        {GLA "matrix: {mixer.variant: [retnet], mixer.gate_rank: [1]}\n",
         "unknown key in section mixer: 'gate_rank'"},
        {GLA "matrix: {mixer.ratio: [\"9:1\"]}\n", "s.yaml:5:24: ratio 9:1 needs at least 10"},
        {GLA "matrix: {mixer.layers: [[1]]}\n", "leave out ratio and placement"},
        {GLA "matrix: {model.heads: [3]}\n",
         "s.yaml:5:24: d_model 32 is not a multiple of heads 3"},
        {GLA "full: {kv_heads: 3}\n", "s.yaml:5:7: kv_heads 3 does not divide heads 2"},
        {GLA "matrix: {train.lr: [-1]}\n", "s.yaml:5:21: lr in section train must be between 0"},
        {GLA "matrix: {train.lr: [.nan]}\n", "must be between"},
        {GLA "matrix: {train.steps: [many]}\n", "steps in section train must be an integer"},
        {GLA "matrix: {train.warmup: [100]}\n", "longer than the 10 steps"},
        {GLA "matrix: {run.device: [cudo]}\n", "unknown device in section run: 'cudo'"},
        {GLA "run: {memory: 1G, isolate: none}\n", "it needs isolate: process"},
        {GLA "matrix: {run.device: [gpu]}\n", "s.yaml:5:23: unknown device"},
        {GLA "matrix: {full.variant: [gla]}\n", "is not full attention"},
        {GLA "matrix: {data.train: [[{task: mqra}]]}\n",
         "s.yaml:5:31: unknown task 'mqra'; did you mean 'mqar'?"},
        {GLA "matrix: {data.train: [[{task: mqar, pars: 3}]]}\n",
         "s.yaml:5:37: unknown key in task mqar: 'pars'; did you mean 'pairs'?"},
        {GLA "matrix: {data.eval: [[{task: mqar, weight: 3}]]}\n",
         "unknown key in task mqar: 'weight'"},
        {GLA "matrix: {data.train: [[{task: text}]]}\n", "task text needs 'path'"},
        {GLA "matrix: {data.train: [[3]]}\n", "must be a map that names its task"},
        {GLA "matrix: {data.train: [{task: mqar}]}\n", "must be a list of tasks"},
        {"mixer: {ratio: full}\n", "section data needs 'train'"},
        {BASE, "section mixer needs 'variant'"},
        {GLA "name: a/b\n", "s.yaml:5:7: name 'a/b' cannot name a file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hy_plan p = {0};
        struct hy_err e = {0};
        if (plan(cases[i].text, NULL, 0, &p, &e) != HY_E_USAGE)
            fail_msg("accepted: %s", cases[i].text);
        if (!strstr(e.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", e.text, cases[i].says);
    }
}

static void wrong_set_values_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *set, *says;
    } cases[] = {
        {"train.lr", "expected path=value"},
        {"=3", "expected path=value"},
        {"train.stps=3", "--set: unknown key in section train: 'stps'; did you mean 'steps'?"},
        {"train.steps=x", "--set: steps in section train must be an integer"},
        {"matrix.train.lr=[1]", "wins over the matrix"},
        {"train.lr=[1", "not YAML"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hy_plan p = {0};
        struct hy_err e = {0};
        assert_int_equal(plan(GLA, &cases[i].set, 1, &p, &e), HY_E_USAGE);
        if (!strstr(e.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", e.text, cases[i].says);
    }
}

/* head, then piece so many times, then tail. */
static char *repeat(const char *head, const char *piece, size_t times, const char *tail)
{
    struct hy_buf text = {0};
    hy_buf_text(&text, head);
    for (size_t i = 0; i < times; i++)
        hy_buf_printf(&text, piece, (int)i);
    hy_buf_text(&text, tail);
    assert_false(hy_buf_failed(&text));
    return text.data;
}

static void a_file_that_would_take_all_memory_or_time_is_refused(void **state)
{
    (void)state;
    const struct {
        char *text;
        const char *says;
    } cases[] = {
        {repeat("a: ", "[", 3000, ""), "s.yaml:1:36: nested more than 32 levels deep"},
        {repeat("", "a%d: 1\n", HY_MAX_KEYS + 1, ""), "s.yaml:16385:1: a map of more than 16384"},
        {repeat("a: '", "0123456789abcdef", 1 << 20, "'\n"), "larger than 16 MiB"},
        {repeat(GLA "x: [", "1, ", 600,
                "]\nmatrix: {train.seed: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "
                "train.lr: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "
                "train.clip: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "
                "train.eps: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "
                "train.beta1: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}\n"),
         "matrix: 100000 combinations of 62"},
        {repeat("a: &a [x, x]\n", "b%d: [*a, *a]\n", 30, ""), "s.yaml:1:4: anchors (&name) are"},
        {repeat(BASE "mixer: {variant: gla, ratio: pure}\n", "", 0,
                "matrix: {data.train: [[{task: text, path: /dev/zero}]]}\n"),
         "no regular file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hy_plan p = {0};
        struct hy_err e = {0};
        assert_int_equal(plan(cases[i].text, NULL, 0, &p, &e), HY_E_USAGE);
        if (!strstr(e.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", e.text, cases[i].says);
        free(cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_matrix_is_the_product_in_order),
        cmocka_unit_test(a_title_names_what_else_varies),
        cmocka_unit_test(excluded_combinations_are_gone_and_included_runs_are_added),
        cmocka_unit_test(a_matrix_of_includes_has_no_other_runs),
        cmocka_unit_test(adding_a_value_keeps_the_other_keys),
        cmocka_unit_test(an_evaluation_length_is_part_of_the_key),
        cmocka_unit_test(a_full_model_is_one_run_under_every_variant_ratio_and_placement),
        cmocka_unit_test(a_pure_model_has_no_placement_and_no_full_mixer),
        cmocka_unit_test(keys_ignore_spelling_and_what_does_not_change_results),
        cmocka_unit_test(a_corpus_counts_by_its_content_not_by_its_path),
        cmocka_unit_test(options_of_some_variants_are_dropped_for_the_others),
        cmocka_unit_test(options_of_an_included_variant_are_dropped_where_the_default_rules),
        cmocka_unit_test(set_values_win_over_file_and_matrix),
        cmocka_unit_test(evaluation_inherits_from_training),
        cmocka_unit_test(a_resolved_configuration_resolves_to_itself),
        cmocka_unit_test(the_mlp_has_its_usual_width_by_default_and_none_with_0),
        cmocka_unit_test(a_cache_larger_than_memory_is_refused_with_the_context_that_fits),
        cmocka_unit_test(a_sequence_that_levels_do_not_reach_is_refused),
        cmocka_unit_test(what_is_wrong_is_named_with_its_place),
        cmocka_unit_test(wrong_set_values_are_named),
        cmocka_unit_test(a_file_that_would_take_all_memory_or_time_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
