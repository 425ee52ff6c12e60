-- schema_6.sql - version 6: what a run's layers are, and whose weights it started from.

ALTER TABLE run ADD COLUMN source TEXT; -- key of the run whose final weights it starts from

CREATE TABLE layer (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    layer INTEGER NOT NULL, -- from 0
    kind TEXT NOT NULL,
    variant TEXT NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (run, layer, metric)
) STRICT, WITHOUT ROWID;
