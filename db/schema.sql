-- schema.sql - the tables of the results database, version 1.
--
-- A change to a released table is a migration of its own (db/store.c), not an edit. What people read
-- are the views of views.sql.
-- Times are seconds since 1970. A number that is not finite is NULL.

CREATE TABLE sweep (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL, -- the sweep file as it was last run
    version TEXT NOT NULL,
    added REAL NOT NULL
) STRICT;

CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    variant TEXT NOT NULL,
    ratio TEXT NOT NULL,
    placement TEXT,
    layout TEXT,
    linear_layers INTEGER NOT NULL,
    full_layers INTEGER NOT NULL,
    d_model INTEGER NOT NULL,
    layers INTEGER NOT NULL,
    heads INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    lr REAL NOT NULL,
    config TEXT NOT NULL CHECK (json_valid(config)),
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN
        ('pending', 'running', 'done', 'diverged', 'failed', 'timeout', 'interrupted')),
    reason TEXT,
    -- The last attempt.
    attempts INTEGER NOT NULL DEFAULT 0,
    host TEXT,
    rank INTEGER,
    started REAL,
    ended REAL,
    first_step INTEGER, -- of its first history row; NULL before that
    step INTEGER,
    steps INTEGER,
    tokens_per_s REAL,
    updated REAL
) STRICT;

CREATE TABLE sweep_run (
    sweep INTEGER NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    PRIMARY KEY (sweep, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX sweep_run_by_run ON sweep_run (run, sweep);

CREATE TABLE facts (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value REAL,
    text TEXT,
    PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE score (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    task TEXT NOT NULL,
    split TEXT NOT NULL,
    slice TEXT NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (run, task, split, slice, metric)
) STRICT, WITHOUT ROWID;

CREATE TABLE metric (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- Ordered as it is written, so that inserting appends.
CREATE TABLE point (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    metric INTEGER NOT NULL REFERENCES metric (id),
    value REAL,
    PRIMARY KEY (run, step, metric)
) STRICT, WITHOUT ROWID;

-- The .975 quantile of Student's t. Between two rows the smaller df counts: it is the safer.
CREATE TABLE student_t (
    df INTEGER PRIMARY KEY,
    t REAL NOT NULL
) STRICT;
INSERT INTO student_t (df, t) VALUES
    (1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (6, 2.4469), (7, 2.3646),
    (8, 2.3060), (9, 2.2622), (10, 2.2281), (11, 2.2010), (12, 2.1788), (13, 2.1604),
    (14, 2.1448), (15, 2.1314), (16, 2.1199), (17, 2.1098), (18, 2.1009), (19, 2.0930),
    (20, 2.0860), (21, 2.0796), (22, 2.0739), (23, 2.0687), (24, 2.0639), (25, 2.0595),
    (26, 2.0555), (27, 2.0518), (28, 2.0484), (29, 2.0452), (30, 2.0423), (40, 2.0211),
    (50, 2.0086), (60, 2.0003), (80, 1.9901), (100, 1.9840), (120, 1.9799);
