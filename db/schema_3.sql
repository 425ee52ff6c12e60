-- schema_3.sql - version 3: every attempt at a run is kept, not the last one alone.

CREATE TABLE attempt (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    number INTEGER NOT NULL, -- from 1
    status TEXT NOT NULL,
    reason TEXT,
    host TEXT,
    rank INTEGER,
    started REAL NOT NULL,
    ended REAL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
INSERT INTO attempt
    SELECT id, attempts, status, reason, host, rank, started, ended FROM run
    WHERE attempts > 0 AND started IS NOT NULL;
