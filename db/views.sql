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
    run.layout,
    run.linear_layers,
    run.full_layers,
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
    run.config
FROM run;

CREATE VIEW history AS
SELECT point.run, point.step, metric.name, point.value
FROM point JOIN metric ON metric.id = point.metric;

CREATE VIEW slices AS
SELECT run, task, split, slice, metric, value FROM score;

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
-- setting: the configuration they share, without what their results do not depend on.
CREATE VIEW cells AS
WITH member AS (
    SELECT
        sweep.name AS sweep,
        run.*,
        json_patch(
            json_remove(config, '$.name', '$.run', '$.eval.every', '$.train.seed', '$.train.lr',
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

-- What tells the cells of a variant apart in a sweep, ratio aside: "d_model=64", "train.batch=8". A
-- pure model has no placement and no full layers that could differ.
CREATE VIEW labels AS
WITH
cell AS MATERIALIZED (
    SELECT DISTINCT sweep, cell, setting, json_extract(cell, '$[0]') AS variant FROM cells
),
leaf AS MATERIALIZED (
    SELECT
        sweep,
        cell,
        variant,
        replace(substr(fullkey, 3), '"', '') AS path, -- SQLite quotes keys such as d_model
        coalesce(value, 'null') AS value
    FROM cell, json_tree(setting)
    WHERE type <> 'object' AND typeof(key) = 'text' AND fullkey <> '$.mixer.ratio'
        AND NOT (type = 'array' AND coalesce(json_type(value, '$[0]'), '') = 'object')
),
varying AS (
    SELECT sweep, variant, path FROM leaf GROUP BY sweep, variant, path
    HAVING count(DISTINCT value) > 1
        -- A setting of training that some leave at its default without naming it.
        OR path LIKE 'train.%' AND count(*) < (SELECT count(*) FROM cell
            WHERE cell.sweep = leaf.sweep AND cell.variant = leaf.variant)
),
shown AS (
    SELECT leaf.sweep, leaf.cell,
        CASE WHEN substr(path, 1, 6) IN ('model.', 'mixer.', 'train.') THEN substr(path, 7)
            ELSE path END || '=' || leaf.value AS text
    FROM leaf JOIN varying USING (sweep, variant, path)
    ORDER BY path
)
SELECT cell.sweep, cell.cell, coalesce(group_concat(shown.text, ' '), '') AS label
FROM cell LEFT JOIN shown USING (sweep, cell)
GROUP BY cell.sweep, cell.cell;

-- The learning rates of each cell and which one validation chooses: the highest mean recall_valid,
-- in which a diverged run counts as 0; where nothing measures recall, the lowest mean ppl_valid,
-- rates at which a run diverged last.
CREATE VIEW rates AS
WITH rate AS (
    SELECT
        cells.sweep,
        cells.cell,
        results.variant,
        results.ratio,
        results.lr,
        count(*) AS runs,
        count(*) FILTER (WHERE status = 'done') AS n,
        count(*) FILTER (WHERE status = 'diverged') AS diverged,
        count(*) FILTER (WHERE status IN ('failed', 'timeout')) AS failed,
        count(*) FILTER (WHERE status IN ('pending', 'running', 'interrupted')) AS open,
        count(*) FILTER (WHERE status = 'pruned') AS pruned,
        sum(recall_valid) FILTER (WHERE status = 'done') /
            (count(recall_valid) FILTER (WHERE status = 'done') +
             count(*) FILTER (WHERE status = 'diverged')) AS recall_valid,
        avg(ppl_valid) FILTER (WHERE status = 'done') AS ppl_valid
    FROM cells JOIN results ON results.run = cells.run
    GROUP BY cells.sweep, cells.cell, results.lr
)
SELECT
    sweep,
    cell,
    variant,
    ratio,
    lr,
    runs,
    n,
    diverged,
    failed,
    open,
    recall_valid,
    ppl_valid,
    n > 0 AND row_number() OVER (PARTITION BY sweep, cell ORDER BY n = 0, recall_valid DESC,
        recall_valid IS NULL AND diverged > 0, ppl_valid NULLS LAST, lr) = 1 AS chosen,
    CASE
        WHEN min(lr) OVER grid = max(lr) OVER grid THEN NULL
        WHEN lr = min(lr) OVER grid THEN 'lowest'
        WHEN lr = max(lr) OVER grid THEN 'highest'
    END AS edge,
    pruned
FROM rate
WINDOW grid AS (PARTITION BY sweep, cell);

CREATE VIEW ratio_recall AS
WITH
member AS MATERIALIZED (
    SELECT cells.sweep, cells.cell, cells.setting, results.*, progress.reason
    FROM cells
    JOIN results ON results.run = cells.run
    JOIN progress ON progress.run = cells.run
),
chosen AS MATERIALIZED (
    SELECT sweep, cell, lr, edge FROM rates WHERE chosen
),
scored AS (
    SELECT
        sweep,
        cell,
        recall_test,
        ppl_test,
        cache_bytes,
        avg(recall_test) OVER same AS recall_mean,
        avg(ppl_test) OVER same AS ppl_mean
    FROM member JOIN chosen USING (sweep, cell, lr)
    WHERE status = 'done'
    WINDOW same AS (PARTITION BY sweep, cell)
),
spread AS (
    SELECT
        sweep,
        cell,
        count(*) AS n,
        max(cache_bytes) AS cache_bytes,
        count(recall_test) AS recall_n,
        recall_mean,
        sum((recall_test - recall_mean) * (recall_test - recall_mean)) AS recall_squares,
        count(ppl_test) AS ppl_n,
        ppl_mean,
        sum((ppl_test - ppl_mean) * (ppl_test - ppl_mean)) AS ppl_squares
    FROM scored
    GROUP BY sweep, cell
),
planned AS (
    SELECT
        sweep,
        cell,
        setting,
        variant,
        ratio,
        placement,
        linear_layers,
        full_layers,
        d_model,
        layers,
        heads,
        count(*) AS runs,
        count(*) FILTER (WHERE status IN ('failed', 'timeout', 'diverged')) AS failed,
        count(*) FILTER (WHERE status IN ('pending', 'running', 'interrupted')) AS open,
        count(*) FILTER (WHERE status = 'pruned') AS pruned,
        min(status || coalesce(': ' || reason, ''))
            FILTER (WHERE status IN ('failed', 'timeout', 'diverged')) AS failure
    FROM member
    GROUP BY sweep, cell
)
SELECT
    planned.sweep,
    planned.variant,
    planned.ratio,
    planned.placement,
    planned.linear_layers,
    planned.full_layers,
    planned.d_model,
    planned.layers,
    planned.heads,
    chosen.lr,
    chosen.edge AS lr_edge,
    coalesce(spread.n, 0) AS n,
    spread.recall_mean AS recall_test,
    (SELECT t FROM student_t WHERE df < recall_n ORDER BY df DESC LIMIT 1) *
        sqrt(recall_squares / (recall_n - 1) / recall_n) AS recall_test_ci95,
    spread.ppl_mean AS ppl_test,
    (SELECT t FROM student_t WHERE df < ppl_n ORDER BY df DESC LIMIT 1) *
        sqrt(ppl_squares / (ppl_n - 1) / ppl_n) AS ppl_test_ci95,
    spread.cache_bytes,
    planned.runs,
    planned.failed,
    planned.open,
    planned.failure,
    planned.cell,
    planned.setting,
    planned.pruned
FROM planned
LEFT JOIN chosen USING (sweep, cell)
LEFT JOIN spread USING (sweep, cell);
