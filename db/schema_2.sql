-- schema_2.sql - version 2: a run can be pruned.
--
-- A CHECK cannot be altered, so the table is made anew; foreign keys are off while migrating.

CREATE TABLE new_run (
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
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'done',
        'pruned', 'diverged', 'failed', 'timeout', 'interrupted')),
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
INSERT INTO new_run SELECT * FROM run;
DROP TABLE run;
ALTER TABLE new_run RENAME TO run;
