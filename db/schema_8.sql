-- schema_8.sql - version 8: what parts of a model score while its rest is switched off.

-- Component `full` is in table score. The component comes last in the key, so that the parts of one
-- score lie together.
CREATE TABLE component_score (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    component TEXT NOT NULL,
    task TEXT NOT NULL,
    split TEXT NOT NULL,
    slice TEXT NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (run, task, split, slice, metric, component)
) STRICT, WITHOUT ROWID;
