#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/list.h"
#include "report/mark.h"
#include "report/setting.h"
#include "report/table.h"

/* base: what two runs of the same settings share whatever their layouts; mixer and attention: of
 * their linear and full layers, NULL in a model that has none. */
#define CANDIDATES                                                                        \
    "WITH candidate AS (SELECT *, json_array(layers, d_model, heads) AS size, "           \
    "  json_remove(setting, '$.select', '$.layers', '$.mixer', '$.full') AS base, "       \
    "  CASE WHEN full_layers < layers THEN json_remove(setting -> '$.mixer', '$.ratio', " \
    "    '$.placement', '$.layers') END AS mixer, "                                       \
    "  CASE WHEN full_layers > 0 THEN setting -> '$.full' END AS attention "              \
    "  FROM judged WHERE status = 'done' AND chosen), "

/* The truth: a row per layout of linear and full layers and whatever else was varied, over all
 * sweeps. Where several trained a layout, validation chooses among their learning rates again. */
static const char truth_query[] = CANDIDATES
    "plain AS (SELECT *, row_number() OVER (PARTITION BY run ORDER BY sweep) AS place "
    "  FROM candidate WHERE selected_by IS NULL AND layout GLOB '[LF]*' "
    "  AND layout NOT GLOB '*[^LF]*'), "
    "rated AS (SELECT *, first_value(lr) OVER (PARTITION BY size, base, mixer, attention, layout "
    "  ORDER BY rate_recall DESC, rate_ppl NULLS LAST, lr) AS truth_lr FROM plain WHERE place = 1) "
    "SELECT size, base, mixer, attention, variant, layout, full_layers, layers, count(*) AS n, "
    "avg(ppl_test) AS ppl, avg(recall_test) AS recall FROM rated WHERE lr = truth_lr "
    "GROUP BY size, base, mixer, attention, layout ORDER BY size, base, layout, mixer, attention";

/* A row per run that has selected its layers. */
static const char runs_query[] = CANDIDATES
    "chosen AS (SELECT *, json_extract(setting, '$.select.tolerance') AS tolerance, "
    "  json_extract(setting, '$.select.budget') AS budget, "
    "  iif(json_extract(setting, '$.init') IS NULL OR json_extract(setting, '$.init.weights') = 0, "
    "    'nothing', 'weights') AS start, "
    "  row_number() OVER (PARTITION BY run ORDER BY sweep) AS place "
    "  FROM candidate WHERE selected_by IS NOT NULL AND (?1 IS NULL OR sweep = ?1)), "
    "named AS (SELECT *, coalesce(tolerance, budget || ' full') AS bound FROM chosen "
    "  WHERE place = 1) "
    "SELECT size, base, mixer, attention, sweep, variant, number, label, selected_by AS method, "
    "tolerance, budget, bound, lr, start, seed, run, layout, full_layers, layers, collapsed, "
    "CASE WHEN min(number) OVER same < max(number) OVER same THEN label END AS several FROM named "
    "WINDOW same AS (PARTITION BY sweep, variant, selected_by, bound) "
    "ORDER BY sweep, variant, method, tolerance IS NULL, CAST(tolerance AS REAL), budget, label, "
    "number, seed, run";

/* A layout and what its plain runs have reached. */
struct known {
    const char *size, *base, *mixer, *attention, *variant, *layout;
    long full, layers, n;
    double ppl, recall; /* NaN: not measured */
};

/* Layouts of the same settings: those between begin and end that agree with the one at lead. */
struct pool {
    int begin, end, lead;
};

struct rank {
    long place, of; /* 0: none */
};

/* What the truth says of a run's layout. */
struct finding {
    int pool;          /* -1: there is no truth */
    int layout;        /* -1: it does not hold the layout */
    int same_settings; /* its runs differ from this one in nothing but the selection */
    long layouts, with_as_many, fewest, most;
    struct rank ppl, recall, ppl_all, recall_all;
    double ppl_regret, recall_regret;
};

struct truth {
    struct known *known;
    struct pool *pools;
    int count, pool_count;
};

static int is_same(const char *a, const char *b)
{
    return !strcmp(a ? a : "", b ? b : "");
}

/* A model without linear layers has no mixer that could differ, one without full ones no attention.
 */
static int belongs(const struct truth *t, const struct pool *p, int layout)
{
    const struct known *k = &t->known[layout], *lead = &t->known[p->lead];
    return (!k->mixer || is_same(k->mixer, lead->mixer)) &&
           (!k->attention || is_same(k->attention, lead->attention));
}

static int begin_truth(struct truth *t, const struct hy_rows *rows, struct hy_err *e)
{
    t->known = calloc((size_t)rows->count + 1, sizeof *t->known);
    t->pools = calloc((size_t)rows->count + 1, sizeof *t->pools);
    if (!t->known || !t->pools)
        return hy_fail_memory(e);
    t->count = rows->count;
    for (int row = 0; row < rows->count; row++)
        t->known[row] = (struct known){
            .size = hy_rows_text(rows, row, "size"),
            .base = hy_rows_text(rows, row, "base"),
            .mixer = hy_rows_text(rows, row, "mixer"),
            .attention = hy_rows_text(rows, row, "attention"),
            .variant = hy_rows_text(rows, row, "variant"),
            .layout = hy_rows_text(rows, row, "layout"),
            .full = hy_rows_count(rows, row, "full_layers"),
            .layers = hy_rows_count(rows, row, "layers"),
            .n = hy_rows_count(rows, row, "n"),
            .ppl = hy_rows_number(rows, row, "ppl"),
            .recall = hy_rows_number(rows, row, "recall"),
        };
    return 0;
}

/* Adds the pools of layouts of equal bases: one for each pair of mixer and attention. */
static void add_pools(struct truth *t, int begin, int end)
{
    const int first = t->pool_count;
    for (int i = begin; i < end; i++) {
        const struct known *k = &t->known[i];
        int found = !k->mixer || !k->attention;
        for (int p = first; p < t->pool_count && !found; p++)
            found = belongs(t, &t->pools[p], i);
        if (!found)
            t->pools[t->pool_count++] = (struct pool){begin, end, i};
    }
}

static void find_pools(struct truth *t)
{
    for (int begin = 0, end; begin < t->count; begin = end) {
        for (end = begin + 1; end < t->count; end++)
            if (!is_same(t->known[end].size, t->known[begin].size) ||
                !is_same(t->known[end].base, t->known[begin].base))
                break;
        add_pools(t, begin, end);
    }
}

/* How many layouts of a depth have so many full layers. */
static double count_layouts(long layers, long full)
{
    double count = 1;
    for (long i = 1; i <= full; i++)
        count = count * (double)(layers - full + i) / (double)i;
    return count;
}

/* What pool p holds for a run. */
static struct finding look_up(const struct truth *t, int p, const struct hy_rows *rows, int run)
{
    const struct pool *pool = &t->pools[p];
    const struct known *lead = &t->known[pool->lead];
    const char *mixer = hy_rows_text(rows, run, "mixer");
    const char *attention = hy_rows_text(rows, run, "attention");
    const long full = hy_rows_count(rows, run, "full_layers");
    struct finding f = {.pool = p, .layout = -1};
    for (int i = pool->begin; i < pool->end; i++) {
        if (!belongs(t, pool, i))
            continue;
        const struct known *k = &t->known[i];
        f.fewest = !f.layouts || k->n < f.fewest ? k->n : f.fewest;
        f.most = k->n > f.most ? k->n : f.most;
        f.layouts++;
        f.with_as_many += k->full == full;
        if (is_same(k->layout, hy_rows_text(rows, run, "layout")))
            f.layout = i;
    }
    f.same_settings = is_same(lead->base, hy_rows_text(rows, run, "base")) &&
                      (!mixer || is_same(lead->mixer, mixer)) &&
                      (!attention || is_same(lead->attention, attention));
    return f;
}

/* Whether a tells more of the run than b: that all layouts with as many full layers were trained
 * comes first, that they were trained alike second. */
static int is_better(const struct finding *a, const struct finding *b, double all)
{
    if (b->pool < 0)
        return 1;
    if ((a->layout >= 0) != (b->layout >= 0))
        return a->layout >= 0;
    const int a_complete = (double)a->with_as_many >= all;
    const int b_complete = (double)b->with_as_many >= all;
    if (a_complete != b_complete)
        return a_complete;
    if (a->same_settings != b->same_settings)
        return a->same_settings;
    if (a->with_as_many != b->with_as_many)
        return a->with_as_many > b->with_as_many;
    return a->layouts > b->layouts;
}

/* sign: 1 where less is better, -1 where more is. Layouts without that figure have no rank. */
static struct rank rank_among(const struct truth *t, const struct finding *f, int of_all,
                              int is_recall, double *regret)
{
    const struct pool *pool = &t->pools[f->pool];
    const struct known *own = &t->known[f->layout];
    const double value = is_recall ? -own->recall : own->ppl;
    struct rank r = {1, 0};
    double best = value;
    if (isnan(value))
        return (struct rank){0};
    for (int i = pool->begin; i < pool->end; i++) {
        const struct known *k = &t->known[i];
        const double other = is_recall ? -k->recall : k->ppl;
        if (!belongs(t, pool, i) || isnan(other) || (!of_all && k->full != own->full))
            continue;
        r.of++;
        r.place += other < value;
        best = other < best ? other : best;
    }
    if (regret)
        *regret = value - best;
    return r;
}

static struct finding find(const struct truth *t, const struct hy_rows *rows, int run)
{
    const double all =
        count_layouts(hy_rows_count(rows, run, "layers"), hy_rows_count(rows, run, "full_layers"));
    struct finding best = {.pool = -1, .layout = -1};
    for (int p = 0; p < t->pool_count; p++) {
        const struct known *lead = &t->known[t->pools[p].lead];
        if (!is_same(lead->size, hy_rows_text(rows, run, "size")) ||
            !is_same(lead->variant, hy_rows_text(rows, run, "variant")))
            continue;
        const struct finding f = look_up(t, p, rows, run);
        if (f.layouts > 1 && is_better(&f, &best, all))
            best = f;
    }
    best.ppl_regret = best.recall_regret = NAN;
    if (best.layout < 0)
        return best;
    best.ppl = rank_among(t, &best, 0, 0, &best.ppl_regret);
    best.recall = rank_among(t, &best, 0, 1, &best.recall_regret);
    best.ppl_all = rank_among(t, &best, 1, 0, NULL);
    best.recall_all = rank_among(t, &best, 1, 1, NULL);
    return best;
}

/* ---- Data: a row per run ---- */

static const char *const of_run[] = {"sweep", "variant", "label", "method", "tolerance",  "budget",
                                     "lr",    "seed",    "run",   "layout", "full_layers"};
static const char *const of_truth[] = {"ppl_regret",   "recall_regret", "ppl_rank",
                                       "ppl_of",       "recall_rank",   "recall_of",
                                       "ppl_rank_all", "ppl_all",       "recall_rank_all",
                                       "recall_all",   "truth_layouts", "truth_runs"};
enum { OF_RUN = sizeof of_run / sizeof *of_run, OF_TRUTH = sizeof of_truth / sizeof *of_truth };

static void fill_data_row(struct hy_grid *g, const struct hy_rows *rows, int run,
                          const struct finding *f)
{
    const double ranks[] = {f->ppl_regret,
                            f->recall_regret,
                            (double)f->ppl.place,
                            (double)f->ppl.of,
                            (double)f->recall.place,
                            (double)f->recall.of,
                            (double)f->ppl_all.place,
                            (double)f->ppl_all.of,
                            (double)f->recall_all.place,
                            (double)f->recall_all.of,
                            (double)f->layouts,
                            (double)f->fewest};
    const int row = hy_grid_add_row(g, &g->data);
    for (int c = 0; c < OF_RUN; c++)
        hy_grid_set(g, &g->data, row, c, hy_rows_text(rows, run, of_run[c]));
    for (int c = 0; c < OF_TRUTH; c++) {
        char text[32];
        snprintf(text, sizeof text, "%.10g", ranks[c]);
        /* A rank of 0 is none; a regret of 0 is the best. */
        const int is_none = isnan(ranks[c]) || (c > 1 && ranks[c] == 0);
        hy_grid_set(g, &g->data, row, OF_RUN + c, is_none ? NULL : text);
    }
}

static void fill_data(struct hy_grid *g, const struct hy_rows *rows, const struct finding *found)
{
    for (int c = 0; c < OF_RUN; c++)
        hy_grid_add_column(g, &g->data, of_run[c], HY_LEFT);
    for (int c = 0; c < OF_TRUTH; c++)
        hy_grid_add_column(g, &g->data, of_truth[c], HY_RIGHT);
    const int is_measured = hy_rows_any(rows, "collapsed");
    if (is_measured)
        hy_grid_add_column(g, &g->data, "collapsed", HY_RIGHT);
    for (int run = 0; run < rows->count; run++) {
        fill_data_row(g, rows, run, &found[run]);
        if (is_measured)
            hy_grid_set(g, &g->data, run, OF_RUN + OF_TRUTH, hy_rows_text(rows, run, "collapsed"));
    }
}

/* ---- Page: a row per cell, its seeds one behind another ---- */

struct page {
    struct hy_grid *grid;
    const struct hy_rows *rows;
    const struct truth *truth;
    const struct finding *found;
    int row, columns; /* that is filled, and how far */
};

enum { LEADING = 4 };
static const char *const leading[LEADING][2] = {
    {"sweep", "sweep"}, {"variant", "variant"}, {"start", "from"}, {"several", "setting"}};

static int set(struct page *p, const char *text)
{
    hy_grid_set(p->grid, &p->grid->page, p->row, p->columns, text);
    return p->columns++;
}

static const struct rank *rank_of(const struct finding *f, int which)
{
    const struct rank *const ranks[] = {&f->ppl, &f->recall, &f->ppl_all, &f->recall_all};
    return ranks[which];
}

/* "1, 1, 4 of 15"; with the numbers of each where they differ. */
static void set_ranks(struct page *p, int first, int end, int which)
{
    struct hy_buf text = {0};
    long of = 0;
    int differ = 0;
    for (int run = first; run < end; run++) {
        const struct rank *r = rank_of(&p->found[run], which);
        differ |= of && r->of && r->of != of;
        of = r->of ? r->of : of;
    }
    for (int run = first; run < end; run++) {
        const struct rank *r = rank_of(&p->found[run], which);
        hy_buf_text(&text, run > first ? ", " : "");
        if (!r->of)
            hy_buf_text(&text, "–");
        else
            hy_buf_printf(&text, differ ? "%ld of %ld" : "%ld", r->place, r->of);
    }
    if (of && !differ)
        hy_buf_printf(&text, " of %ld", of);
    p->grid->failed |= hy_buf_failed(&text);
    set(p, of && !hy_buf_failed(&text) ? text.data : "–");
    hy_buf_release(&text);
}

static void set_layouts(struct page *p, int first, int end)
{
    struct hy_buf text = {0};
    for (int run = first; run < end; run++)
        hy_buf_printf(&text, "%s%s", run > first ? ", " : "", hy_rows_text(p->rows, run, "layout"));
    p->grid->failed |= hy_buf_failed(&text);
    set(p, hy_buf_failed(&text) ? NULL : text.data);
    hy_buf_release(&text);
}

static void set_regret(struct page *p, int first, int end, int is_recall)
{
    double sum = 0;
    int count = 0;
    char text[32];
    for (int run = first; run < end; run++) {
        const struct finding *f = &p->found[run];
        const double regret = is_recall ? f->recall_regret : f->ppl_regret;
        sum += isnan(regret) ? 0 : regret;
        count += !isnan(regret);
    }
    set(p, hy_unit_text(is_recall ? HY_UNIT_SCORE : HY_UNIT_NUMBER, count ? sum / count : NAN, text,
                        sizeof text));
}

/* What the truth is made of, or what it lacks. */
static void add_note(struct page *p, int run, int at)
{
    const struct finding *f = &p->found[run];
    const char *variant = hy_rows_text(p->rows, run, "variant");
    const long layers = hy_rows_count(p->rows, run, "layers");
    const long full = hy_rows_count(p->rows, run, "full_layers");
    const double all = count_layouts(layers, full);
    char text[400], runs[48], part[96] = "";
    if (f->pool < 0) {
        snprintf(text, sizeof text,
                 "there is no truth: no plain runs of several layouts of %s with %ld layers of "
                 "this width have finished",
                 variant, layers);
        hy_grid_note(p->grid, p->row, at, NULL, text);
        return;
    }
    if (f->layout < 0) {
        snprintf(text, sizeof text, "layout %s is not among the plain runs",
                 hy_rows_text(p->rows, run, "layout"));
        hy_grid_note(p->grid, p->row, at, NULL, text);
        return;
    }
    if (f->fewest < f->most)
        snprintf(runs, sizeof runs, "%ld to %ld runs", f->fewest, f->most);
    else
        snprintf(runs, sizeof runs, f->most == 1 ? "%ld run" : "%ld runs", f->most);
    if ((double)f->with_as_many < all)
        snprintf(part, sizeof part, "; of %.0f with %ld full layers only %ld", all, full,
                 f->with_as_many);
    snprintf(text, sizeof text, "the truth: %ld layouts of %s, %s each%s%s", f->layouts, variant,
             runs, part,
             f->same_settings ? "" : "; its runs differ from these in more than the selection");
    hy_grid_note(p->grid, p->row, at, NULL, text);
}

static void mark(struct page *p, int first, int end, int at)
{
    long collapsed = 0;
    for (int run = first; run < end; run++)
        collapsed += hy_rows_count(p->rows, run, "collapsed");
    hy_mark_collapsed(p->grid, p->row, at, collapsed, end - first);
}

static void fill_page_row(struct page *p, int first, int end, const int *shown)
{
    char setting[512], text[32];
    p->row = hy_grid_add_row(p->grid, &p->grid->page);
    p->columns = 0;
    for (int i = 0; i < LEADING; i++)
        if (shown[i] && strcmp(leading[i][0], "several") != 0)
            set(p, hy_rows_text(p->rows, first, leading[i][0]));
        else if (shown[i])
            set(p, hy_setting_of_selection(hy_rows_text(p->rows, first, "several"), setting,
                                           sizeof setting));
    mark(p, first, end, set(p, hy_rows_text(p->rows, first, "method")));
    set(p, hy_rows_text(p->rows, first, "bound"));
    snprintf(text, sizeof text, "%d", end - first);
    set(p, text);
    const int at = p->columns;
    set_layouts(p, first, end);
    for (int which = 0; which < 4; which++)
        set_ranks(p, first, end, which);
    set_regret(p, first, end, 0);
    set_regret(p, first, end, 1);
    for (int run = first; run < end; run++)
        add_note(p, run, at);
}

static void fill_page(struct page *p)
{
    static const char *const heads[] = {"method",
                                        "limit",
                                        "n",
                                        "layouts",
                                        "rank by perplexity",
                                        "rank by recall",
                                        "of all by perplexity",
                                        "of all by recall",
                                        "perplexity lost",
                                        "recall lost"};
    int shown[LEADING];
    for (int i = 0; i < LEADING; i++) {
        shown[i] = hy_rows_differ(p->rows, leading[i][0]);
        if (shown[i])
            hy_grid_add_column(p->grid, &p->grid->page, leading[i][1], HY_LEFT);
    }
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        hy_grid_add_column(p->grid, &p->grid->page, heads[i], i == 2 || i > 7 ? HY_RIGHT : HY_LEFT);
    for (int first = 0, end; first < p->rows->count; first = end) {
        for (end = first + 1; end < p->rows->count; end++)
            if (!is_same(hy_rows_text(p->rows, first, "number"),
                         hy_rows_text(p->rows, end, "number")))
                break;
        fill_page_row(p, first, end, shown);
    }
}

static int fill(struct hy_store *store, const char *sweep, struct hy_grid *grid, struct hy_err *e)
{
    struct hy_rows rows = {0}, layouts = {0};
    struct truth truth = {0};
    struct finding *found = NULL;
    int rc = hy_rows_load(store, runs_query, sweep, &rows, e);
    if (!rc)
        rc = hy_rows_load(store, truth_query, NULL, &layouts, e);
    if (!rc)
        rc = begin_truth(&truth, &layouts, e);
    if (rc)
        goto out;
    found = calloc((size_t)rows.count + 1, sizeof *found);
    if (!found) {
        rc = hy_fail_memory(e);
        goto out;
    }
    find_pools(&truth);
    for (int run = 0; run < rows.count; run++)
        found[run] = find(&truth, &rows, run);
    hy_grid_title(grid, "Regret: selected layouts among all with as many full layers, by the mean "
                        "over plain runs on test data (1 = best)");
    fill_data(grid, &rows, found);
    struct page page = {.grid = grid, .rows = &rows, .truth = &truth, .found = found};
    fill_page(&page);
out:
    free(found);
    free(truth.known);
    free(truth.pools);
    hy_rows_release(&layouts);
    hy_rows_release(&rows);
    return rc;
}

const struct hy_table hy_table_regret = {
    .name = "regret",
    .summary = "selected layouts ranked among plain runs of every layout",
    .fill = fill,
};
