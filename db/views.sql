-- views.sql - the public interface of the results database, described in docs/database.md.
--
-- Every migration drops all views and makes them anew from here, so a view is changed by an edit; a
-- migration that changes views alone has an empty text (db/store.c). Columns stay; new ones come at
-- the end.

CREATE VIEW results AS
SELECT
    run.id AS run,
    run.key,
    (SELECT sweep.name FROM sweep_run JOIN sweep ON sweep.id = sweep_run.sweep
     WHERE sweep_run.run = run.id ORDER BY sweep.id LIMIT 1) AS sweep,
    run.title AS name,
    run.status,
    run.variant,
    run.ratio,
    run.placement,
    -- What a run that selects its layers has found, once it has.
    coalesce((SELECT text FROM facts WHERE run = run.id AND name = 'layout'), run.layout)
        AS layout,
    CAST(coalesce((SELECT value FROM facts WHERE run = run.id AND name = 'linear_layers'),
        run.linear_layers) AS INTEGER) AS linear_layers,
    CAST(coalesce((SELECT value FROM facts WHERE run = run.id AND name = 'full_layers'),
        run.full_layers) AS INTEGER) AS full_layers,
    run.d_model,
    run.layers,
    run.heads,
    CAST((SELECT value FROM facts WHERE run = run.id AND name = 'params') AS INTEGER)
        AS params,
    run.seed,
    run.lr,
    (SELECT value FROM facts WHERE run = run.id AND name = 'ppl_valid') AS ppl_valid,
    (SELECT value FROM facts WHERE run = run.id AND name = 'ppl_test') AS ppl_test,
    (SELECT value FROM facts WHERE run = run.id AND name = 'bpb_test') AS bpb_test,
    (SELECT value FROM facts WHERE run = run.id AND name = 'recall_valid') AS recall_valid,
    (SELECT value FROM facts WHERE run = run.id AND name = 'recall_test') AS recall_test,
    CAST((SELECT value FROM facts WHERE run = run.id AND name = 'cache_bytes') AS INTEGER)
        AS cache_bytes,
    CAST((SELECT value FROM facts WHERE run = run.id AND name = 'state_bytes') AS INTEGER)
        AS state_bytes,
    CAST((SELECT value FROM facts WHERE run = run.id AND name = 'train_bytes') AS INTEGER)
        AS train_bytes,
    CAST((SELECT value FROM facts WHERE run = run.id AND name = 'peak_rss_bytes') AS INTEGER)
        AS peak_rss_bytes,
    (SELECT value FROM facts WHERE run = run.id AND name = 'flops_per_token') AS flops_per_token,
    CAST((SELECT value FROM facts WHERE run = run.id AND name = 'tokens') AS INTEGER)
        AS tokens,
    (SELECT value FROM facts WHERE run = run.id AND name = 'tokens_per_s') AS tokens_per_s,
    coalesce((SELECT value FROM facts WHERE run = run.id AND name = 'wall_s'),
        run.ended - run.started) AS wall_s,
    coalesce((SELECT text FROM facts WHERE run = run.id AND name = 'host'), run.host) AS host,
    (SELECT text FROM facts WHERE run = run.id AND name = 'device') AS device,
    (SELECT text FROM facts WHERE run = run.id AND name = 'version') AS version,
    run.config,
    (SELECT id FROM run AS other WHERE other.key = run.source) AS source,
    (SELECT group_concat(json_extract(stage.value, '$.name'), ' ')
     FROM json_each(run.config, '$.stages') AS stage) AS stages,
    json_extract(run.config, '$.kinds') AS kinds,
    json_extract(run.config, '$.select.method') AS selected_by,
    (SELECT iif(count(*) = 0, NULL, coalesce(min(unused), 0)) FROM linear_use
     WHERE linear_use.run = run.id) AS collapsed
FROM run;

-- What each layer of a run is, and what was counted and measured of it.
CREATE VIEW layers AS
SELECT run, layer, kind, variant, metric, value FROM layer;

-- The stages of runs that have section stages: from 0, and the training loss at the end of each.
CREATE VIEW stage_history AS
WITH told AS (
    SELECT run, CAST(substr(name, 7, instr(substr(name, 7), '.') - 1) AS INTEGER) AS stage,
        substr(name, 7 + instr(substr(name, 7), '.')) AS what, value, text
    FROM facts WHERE name GLOB 'stage.*'
), stages AS (
    SELECT run, stage,
        max(text) FILTER (WHERE what = 'name') AS name,
        max(text) FILTER (WHERE what = 'objective') AS objective,
        CAST(max(value) FILTER (WHERE what = 'first_step') AS INTEGER) AS first_step,
        CAST(max(value) FILTER (WHERE what = 'last_step') AS INTEGER) AS last_step,
        CAST(max(value) FILTER (WHERE what = 'trained_params') AS INTEGER) AS trained_params,
        CAST(max(value) FILTER (WHERE what = 'optimizer_bytes') AS INTEGER) AS optimizer_bytes,
        CAST(max(value) FILTER (WHERE what = 'train_bytes') AS INTEGER) AS train_bytes,
        max(value) FILTER (WHERE what = 'flops_per_token') AS flops_per_token
    FROM told GROUP BY run, stage
)
SELECT stages.*,
    (SELECT point.value FROM point JOIN metric ON metric.id = point.metric
     WHERE point.run = stages.run AND metric.name = 'train.loss'
         AND point.step BETWEEN first_step AND last_step
     ORDER BY point.step DESC LIMIT 1) AS loss
FROM stages;

CREATE VIEW history AS
SELECT point.run, point.step, metric.name, point.value
FROM point JOIN metric ON metric.id = point.metric;

CREATE VIEW slices AS
SELECT run, task, split, slice, metric, value FROM score;

-- Scores of parts of a model, beside the whole's: component `full`, of which each part has scores.
CREATE VIEW components AS
SELECT run, component, part.task, part.split, part.slice, part.metric, part.value,
    part.value - (SELECT value FROM score AS whole WHERE whole.run = part.run AND
        whole.task = part.task AND whole.split = part.split AND whole.slice = part.slice AND
        whole.metric = part.metric) AS delta
FROM component_score AS part
UNION ALL
SELECT run, 'full', task, split, slice, metric, value, value - value
FROM score
WHERE EXISTS (SELECT 1 FROM component_score AS part WHERE part.run = score.run AND
    part.task = score.task AND part.split = score.split AND part.slice = score.slice AND
    part.metric = score.metric);

-- How much of what a model achieves it owes to its linear part, where the whole, its window and none
-- of its parts were evaluated on test data: use is what is lost without the linear part over what is
-- lost without any. NULL: too little is lost to tell. unused: the model rests on its window in this.
-- A run is collapsed that rests on it in all that tells (view results).
--
-- A join and nothing else, so that one run is looked up by the tables' keys.
CREATE VIEW linear_use AS
SELECT
    run,
    task,
    slice,
    metric,
    "full",
    "window",
    linear,
    "none",
    use,
    use < 0.05 AS unused -- 5 % of what it achieves
FROM (
    SELECT
        whole.run,
        whole.task,
        whole.slice,
        whole.metric,
        whole.value AS "full",
        part.value AS "window",
        (SELECT value FROM component_score AS other
         WHERE other.run = whole.run AND other.task = whole.task AND other.split = whole.split AND
             other.slice = whole.slice AND other.metric = whole.metric AND
             other.component = 'linear') AS linear,
        rest.value AS "none",
        -- 5 of 100 answers, or 0.05 nats.
        CASE WHEN abs(whole.value - rest.value) >=
            CASE whole.metric WHEN 'accuracy' THEN 0.05 WHEN 'nll' THEN 0.05 END
        THEN (whole.value - part.value) / (whole.value - rest.value) END AS use
    FROM score AS whole
    JOIN component_score AS part USING (run, task, split, slice, metric)
    JOIN component_score AS rest USING (run, task, split, slice, metric)
    WHERE part.component = 'window' AND rest.component = 'none' AND whole.split = 'test' AND
        whole.metric IN ('accuracy', 'nll') AND
        (whole.slice = '' OR whole.slice GLOB 'beyond=*')
);

-- How each run went, and where a running one is. left_s: at the speed it reported last.
CREATE VIEW progress AS
SELECT
    id AS run,
    title AS name,
    status,
    reason,
    attempts,
    host,
    rank,
    started,
    ended,
    step,
    coalesce(steps, json_extract(config, '$.train.steps')) AS steps,
    tokens_per_s,
    updated,
    CASE status WHEN 'running' THEN
        (coalesce(steps, json_extract(config, '$.train.steps')) - step) / tokens_per_s *
        json_extract(config, '$.train.batch') * json_extract(config, '$.train.seq_len')
    END AS left_s
FROM run;

CREATE VIEW attempts AS
SELECT run, number AS attempt, status, reason, host, rank, started, ended FROM attempt;

-- Which runs differ in nothing but learning rate and seed: those of one sweep that share `cell`.
-- setting: the configuration they share, without what their results do not depend on. The layout is
-- the planned one: seeds that select different layers remain one cell.
CREATE VIEW cells AS
WITH member AS (
    SELECT
        sweep.name AS sweep,
        run.*,
        json_patch(
            json_remove(config, '$.name', '$.run', '$.eval.every', '$.train.seed', '$.train.lr',
                '$.init.source.name', '$.init.source.run', '$.init.source.eval.every',
                -- What a source takes from its run.
                '$.init.follows',
                iif(json_extract(config, '$.init.follows.seed'), '$.init.source.train.seed',
                    '$.name'),
                iif(json_extract(config, '$.init.follows.lr'), '$.init.source.train.lr', '$.name'),
                CASE ratio WHEN 'pure' THEN '$.mixer.placement' ELSE '$.name' END,
                iif(json_type(config, '$.model.match.solved.mlp') IS NULL, '$.name', '$.model.mlp'),
                iif(json_type(config, '$.model.match.solved.d_model') IS NULL, '$.name',
                    '$.model.d_model'),
                iif(json_type(config, '$.model.match.solved.heads') IS NULL, '$.name',
                    '$.model.heads'),
                '$.model.match.solved', '$.model.match.reached', '$.model.match.residual'),
            json_object('stop', json_extract(config, '$.run.stop'))) AS setting
    FROM sweep_run
    JOIN sweep ON sweep.id = sweep_run.sweep
    JOIN run ON run.id = sweep_run.run
)
SELECT
    sweep,
    id AS run,
    json_array(variant, ratio, layout, d_model, layers, heads, setting) AS cell,
    setting
FROM member;

-- The cells with their labels: what tells the cells of a variant apart in a sweep, ratio aside, as
-- "d_model=64 batch=8". A pure model has no placement and no full layers that could differ. What a
-- method of selection has settings for is compared among the cells of that method. number: the
-- cell's among all, so that nothing has to be sorted by long texts again.
--
-- A row per run, made by windows and without a join, as everything down to ratio_recall: SQLite
-- takes grouped rows for a hundred at most, and would compare each row of one such table with each
-- of another.
CREATE VIEW labelled AS
WITH
numbered AS MATERIALIZED (
    SELECT
        cells.*,
        json_extract(cell, '$[0]') AS variant,
        dense_rank() OVER (ORDER BY sweep, cell) AS number,
        row_number() OVER (PARTITION BY sweep, cell ORDER BY run) AS place
    FROM cells
),
cell AS (
    SELECT *, count(*) OVER (PARTITION BY sweep, variant) AS siblings,
        count(*) OVER (PARTITION BY sweep, variant, json_extract(setting, '$.select.method')) AS kin
    FROM numbered
    WHERE place = 1
),
leaf AS (
    SELECT
        sweep,
        variant,
        number,
        siblings,
        kin,
        json_extract(setting, '$.select.method') AS method,
        replace(substr(fullkey, 3), '"', '') AS path, -- SQLite quotes keys such as d_model
        coalesce(value, 'null') AS value
    FROM cell, json_tree(setting)
    WHERE type <> 'object' AND typeof(key) = 'text' AND fullkey <> '$.mixer.ratio'
        AND NOT (type = 'array' AND coalesce(json_type(value, '$[0]'), '') = 'object')
        -- A recipe's stages are told by its name and its options.
        AND NOT (fullkey LIKE '$.stages%' AND json_type(setting, '$.recipe') IS NOT NULL)
),
compared AS (
    SELECT
        number,
        path,
        value,
        min(value) OVER same <> max(value) OVER same
            -- A setting of training that some leave at its default without naming it, and what
            -- tells a selected layout from a planned one.
            OR (path LIKE 'train.%' OR path = 'select.method') AND count(*) OVER same < siblings
            -- Likewise an option of the method.
            OR path LIKE 'select.%' AND
                path NOT IN ('select.method', 'select.tolerance', 'select.budget') AND
                count(*) OVER same < kin
            AS varies
    FROM leaf
    WINDOW same AS (PARTITION BY sweep, variant, path,
        CASE WHEN path LIKE 'select.%' AND
            path NOT IN ('select.method', 'select.tolerance', 'select.budget') THEN method END)
),
shown AS (
    SELECT number, sweep, run, cell, setting, NULL AS text FROM numbered
    UNION ALL
    SELECT number, NULL, NULL, NULL, NULL,
        CASE WHEN substr(path, 1, 6) IN ('model.', 'mixer.', 'train.') THEN substr(path, 7)
            ELSE path END || '=' || value
    FROM compared
    -- Of a tolerance and a budget one is null.
    WHERE varies AND NOT (path LIKE 'select.%' AND value = 'null')
),
joined AS (
    SELECT
        *,
        coalesce(group_concat(text, ' ') OVER (PARTITION BY number ORDER BY text
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING), '') AS label
    FROM shown
)
SELECT sweep, run, cell, setting, number, label FROM joined WHERE run IS NOT NULL;

CREATE VIEW labels AS
SELECT sweep, cell, label FROM labelled GROUP BY number;

-- The runs with what validation says of their learning rates. rate_*: of the runs of a cell at a
-- rate. chosen: the rate has the highest mean recall_valid, in which a diverged run counts as 0;
-- where nothing measures recall, the lowest mean ppl_valid, rates at which a run diverged last.
CREATE VIEW judged AS
WITH
rated AS (
    SELECT
        labelled.sweep,
        labelled.run,
        cell,
        setting,
        number,
        label,
        results.variant,
        results.ratio,
        results.placement,
        results.layout,
        results.linear_layers,
        results.full_layers,
        results.d_model,
        results.layers,
        results.heads,
        results.seed,
        results.lr,
        results.selected_by,
        results.status,
        reason,
        recall_test,
        ppl_test,
        cache_bytes,
        collapsed,
        count(*) FILTER (WHERE results.status = 'done') OVER rate AS rate_n,
        count(*) FILTER (WHERE results.status = 'diverged') OVER rate AS rate_diverged,
        sum(recall_valid) FILTER (WHERE results.status = 'done') OVER rate /
            (count(recall_valid) FILTER (WHERE results.status = 'done') OVER rate +
             count(*) FILTER (WHERE results.status = 'diverged') OVER rate) AS rate_recall,
        avg(ppl_valid) FILTER (WHERE results.status = 'done') OVER rate AS rate_ppl
    FROM labelled
    JOIN results ON results.run = labelled.run
    JOIN progress ON progress.run = labelled.run
    WINDOW rate AS (PARTITION BY number, results.lr)
),
compared AS (
    SELECT
        *,
        first_value(lr) OVER (PARTITION BY number ORDER BY rate_n = 0, rate_recall DESC,
            rate_recall IS NULL AND rate_diverged > 0, rate_ppl NULLS LAST, lr) AS best_lr,
        min(lr) OVER grid AS lowest_lr,
        max(lr) OVER grid AS highest_lr
    FROM rated
    WINDOW grid AS (PARTITION BY number)
)
SELECT
    *,
    rate_n > 0 AND lr = best_lr AS chosen,
    CASE
        WHEN lowest_lr = highest_lr THEN NULL
        WHEN lr = lowest_lr THEN 'lowest'
        WHEN lr = highest_lr THEN 'highest'
    END AS edge
FROM compared;

-- The learning rates of each cell, and which one is chosen.
CREATE VIEW rates AS
SELECT
    sweep,
    cell,
    variant,
    ratio,
    lr,
    count(*) AS runs,
    rate_n AS n,
    rate_diverged AS diverged,
    count(*) FILTER (WHERE status IN ('failed', 'timeout')) AS failed,
    count(*) FILTER (WHERE status IN ('pending', 'running', 'interrupted')) AS open,
    rate_recall AS recall_valid,
    rate_ppl AS ppl_valid,
    chosen,
    edge,
    count(*) FILTER (WHERE status = 'pruned') AS pruned,
    label,
    sum(collapsed) FILTER (WHERE status = 'done') AS collapsed
FROM judged
GROUP BY number, lr;

CREATE VIEW ratio_recall AS
WITH
-- counts: the run has a result at the chosen rate.
marked AS (
    SELECT *, chosen AND status = 'done' AS counts FROM judged
),
scored AS (
    SELECT
        *,
        avg(recall_test) FILTER (WHERE counts) OVER same AS recall_mean,
        avg(ppl_test) FILTER (WHERE counts) OVER same AS ppl_mean
    FROM marked
    WINDOW same AS (PARTITION BY number)
),
spread AS (
    SELECT
        *,
        max(lr) FILTER (WHERE chosen) AS chosen_lr,
        max(edge) FILTER (WHERE chosen) AS chosen_edge,
        count(*) FILTER (WHERE counts) AS n,
        sum(collapsed) FILTER (WHERE counts) AS resting,
        min(full_layers) FILTER (WHERE counts) AS fewest_full,
        max(full_layers) FILTER (WHERE counts) AS most_full,
        max(linear_layers) FILTER (WHERE counts) AS most_linear,
        max(cache_bytes) FILTER (WHERE counts) AS largest_cache,
        count(recall_test) FILTER (WHERE counts) AS recall_n,
        sum((recall_test - recall_mean) * (recall_test - recall_mean)) FILTER (WHERE counts)
            AS recall_squares,
        count(ppl_test) FILTER (WHERE counts) AS ppl_n,
        sum((ppl_test - ppl_mean) * (ppl_test - ppl_mean)) FILTER (WHERE counts) AS ppl_squares,
        count(*) AS runs,
        count(*) FILTER (WHERE status IN ('failed', 'timeout', 'diverged')) AS failed,
        count(*) FILTER (WHERE status IN ('pending', 'running', 'interrupted')) AS open,
        count(*) FILTER (WHERE status = 'pruned') AS pruned,
        min(status || coalesce(': ' || reason, ''))
            FILTER (WHERE status IN ('failed', 'timeout', 'diverged')) AS failure
    FROM scored
    GROUP BY number
)
SELECT
    sweep,
    variant,
    ratio,
    placement,
    -- Seeds may select different numbers of layers; before one has ended the plan's stand.
    CASE WHEN n = 0 THEN linear_layers WHEN fewest_full = most_full THEN most_linear END
        AS linear_layers,
    CASE WHEN n = 0 THEN full_layers WHEN fewest_full = most_full THEN most_full END
        AS full_layers,
    d_model,
    layers,
    heads,
    chosen_lr AS lr,
    chosen_edge AS lr_edge,
    n,
    recall_mean AS recall_test,
    (SELECT t FROM student_t WHERE df < recall_n ORDER BY df DESC LIMIT 1) *
        sqrt(recall_squares / (recall_n - 1) / recall_n) AS recall_test_ci95,
    ppl_mean AS ppl_test,
    (SELECT t FROM student_t WHERE df < ppl_n ORDER BY df DESC LIMIT 1) *
        sqrt(ppl_squares / (ppl_n - 1) / ppl_n) AS ppl_test_ci95,
    largest_cache AS cache_bytes,
    runs,
    failed,
    open,
    failure,
    cell,
    setting,
    pruned,
    label,
    resting AS collapsed
FROM spread;

-- The runs that select their layers, whatever became of them, a row for each sweep that planned
-- them. reference: of a finished one, the all-softmax run that it is held against. Found by a
-- window over all runs and not by a join, as everything above.
CREATE VIEW selecting AS
WITH
placed AS (
    SELECT
        *,
        min(run) FILTER (WHERE status = 'done' AND selected_by IS NULL AND full_layers = layers)
            OVER (PARTITION BY sweep, seed, lr, d_model, layers, heads) AS peer
    FROM judged
),
matched AS (
    SELECT
        *,
        CASE status WHEN 'done' THEN coalesce(
            (SELECT source.run FROM results AS own, results AS source
             WHERE own.run = placed.run AND source.run = own.source AND source.status = 'done' AND
                 source.selected_by IS NULL AND source.full_layers = source.layers),
            peer) END AS reference
    FROM placed
    WHERE selected_by IS NOT NULL
)
SELECT
    *,
    json_extract(setting, '$.select.tolerance') AS tolerance,
    json_extract(setting, '$.select.budget') AS budget,
    (SELECT value FROM facts WHERE facts.run = matched.run AND name = 'select_met') AS met,
    (SELECT value FROM facts WHERE facts.run = matched.run AND name = 'select_given_back')
        AS given_back,
    ppl_test / (SELECT value FROM facts WHERE facts.run = reference AND name = 'ppl_test')
        AS ppl_ratio,
    recall_test - (SELECT value FROM facts WHERE facts.run = reference AND name = 'recall_test')
        AS recall_diff,
    cache_bytes / (SELECT value FROM facts WHERE facts.run = reference AND name = 'cache_bytes')
        AS cache_ratio,
    iif(json_extract(setting, '$.init') IS NULL OR json_extract(setting, '$.init.weights') = 0,
        'nothing', 'weights') AS start
FROM matched;

CREATE VIEW selection AS
SELECT
    run,
    sweep,
    selected_by AS method,
    tolerance,
    budget,
    seed,
    lr,
    variant,
    layout,
    full_layers,
    CAST(met AS INTEGER) AS met,
    CAST(given_back AS INTEGER) AS given_back,
    reference,
    ppl_test,
    recall_test,
    cache_bytes,
    ppl_ratio,
    recall_diff,
    cache_ratio,
    chosen,
    label,
    cell,
    start,
    collapsed
FROM selecting
WHERE status = 'done';
