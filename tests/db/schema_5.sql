-- A finished sweep of two runs as schema version 5 had it: what sqlite3's .dump says of its tables.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE sweep (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL, -- the sweep file as it was last run
    version TEXT NOT NULL,
    added REAL NOT NULL
) STRICT;
INSERT INTO sweep VALUES(1,'old',replace('name: old\nmodel: {d_model: 16, layers: 2, heads: 2, mlp: 16}\ndata: {train: [{task: mqar, vocab: 16, pairs: [2], examples: 8}]}\ntrain: {steps: 4, batch: 2, seq_len: 16}\nmixer: {ratio: "1:1"}\nmatrix:\n  mixer.variant: [gla, retnet]\n','\n',char(10)),'0.1.0',1795731917.961279869);
CREATE TABLE sweep_run (
    sweep INTEGER NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    PRIMARY KEY (sweep, run)
) STRICT, WITHOUT ROWID;
INSERT INTO sweep_run VALUES(1,1);
INSERT INTO sweep_run VALUES(1,2);
CREATE TABLE facts (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value REAL,
    text TEXT,
    PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;
INSERT INTO facts VALUES(1,'activation_bytes',107392.0,NULL);
INSERT INTO facts VALUES(1,'cache_bytes',2304.0,NULL);
INSERT INTO facts VALUES(1,'cpu_s',0.11681400000000000116,NULL);
INSERT INTO facts VALUES(1,'device',NULL,'cpu');
INSERT INTO facts VALUES(1,'flops_per_token',30282.0,NULL);
INSERT INTO facts VALUES(1,'gang',1.0,NULL);
INSERT INTO facts VALUES(1,'gemm',NULL,'oneDNN 2.6.3');
INSERT INTO facts VALUES(1,'gradient_bytes',18304.0,NULL);
INSERT INTO facts VALUES(1,'host',NULL,'vm');
INSERT INTO facts VALUES(1,'optimizer_bytes',36608.0,NULL);
INSERT INTO facts VALUES(1,'param_bytes',18304.0,NULL);
INSERT INTO facts VALUES(1,'params',4576.0,NULL);
INSERT INTO facts VALUES(1,'peak_rss_bytes',23896064.0,NULL);
INSERT INTO facts VALUES(1,'recall_test',0.0625,NULL);
INSERT INTO facts VALUES(1,'recall_valid',0.0625,NULL);
INSERT INTO facts VALUES(1,'state_bytes',384.0,NULL);
INSERT INTO facts VALUES(1,'threads',1.0,NULL);
INSERT INTO facts VALUES(1,'tokens',128.0,NULL);
INSERT INTO facts VALUES(1,'tokens_per_s',2091.0839234605305136,NULL);
INSERT INTO facts VALUES(1,'train_bytes',180608.0,NULL);
INSERT INTO facts VALUES(1,'version',NULL,'0.1.0');
INSERT INTO facts VALUES(1,'vocab',16.0,NULL);
INSERT INTO facts VALUES(1,'wall_s',0.11516731700248783454,NULL);
INSERT INTO facts VALUES(2,'activation_bytes',117696.0,NULL);
INSERT INTO facts VALUES(2,'cache_bytes',3072.0,NULL);
INSERT INTO facts VALUES(2,'cpu_s',0.12080399999999999471,NULL);
INSERT INTO facts VALUES(2,'device',NULL,'cpu');
INSERT INTO facts VALUES(2,'flops_per_token',38114.0,NULL);
INSERT INTO facts VALUES(2,'gang',1.0,NULL);
INSERT INTO facts VALUES(2,'gemm',NULL,'oneDNN 2.6.3');
INSERT INTO facts VALUES(2,'gradient_bytes',20864.0,NULL);
INSERT INTO facts VALUES(2,'host',NULL,'vm');
INSERT INTO facts VALUES(2,'optimizer_bytes',41728.0,NULL);
INSERT INTO facts VALUES(2,'param_bytes',20864.0,NULL);
INSERT INTO facts VALUES(2,'params',5216.0,NULL);
INSERT INTO facts VALUES(2,'peak_rss_bytes',24018944.0,NULL);
INSERT INTO facts VALUES(2,'recall_test',0.0625,NULL);
INSERT INTO facts VALUES(2,'recall_valid',0.0625,NULL);
INSERT INTO facts VALUES(2,'state_bytes',1152.0,NULL);
INSERT INTO facts VALUES(2,'threads',1.0,NULL);
INSERT INTO facts VALUES(2,'tokens',128.0,NULL);
INSERT INTO facts VALUES(2,'tokens_per_s',2170.2428709385139882,NULL);
INSERT INTO facts VALUES(2,'train_bytes',201152.0,NULL);
INSERT INTO facts VALUES(2,'version',NULL,'0.1.0');
INSERT INTO facts VALUES(2,'vocab',16.0,NULL);
INSERT INTO facts VALUES(2,'wall_s',0.11313614300161134451,NULL);
CREATE TABLE score (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    task TEXT NOT NULL,
    split TEXT NOT NULL,
    slice TEXT NOT NULL,
    metric TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (run, task, split, slice, metric)
) STRICT, WITHOUT ROWID;
INSERT INTO score VALUES(1,'memory','cache','context=16','bytes',2304.0);
INSERT INTO score VALUES(1,'mqar','test','','accuracy',0.0625);
INSERT INTO score VALUES(1,'mqar','test','pairs=2','accuracy',0.0625);
INSERT INTO score VALUES(1,'mqar','valid','','accuracy',0.0625);
INSERT INTO score VALUES(1,'mqar','valid','pairs=2','accuracy',0.0625);
INSERT INTO score VALUES(1,'speed','decode','context=16','tokens_per_s',128195.82079934353532);
INSERT INTO score VALUES(2,'memory','cache','context=16','bytes',3072.0);
INSERT INTO score VALUES(2,'mqar','test','','accuracy',0.0625);
INSERT INTO score VALUES(2,'mqar','test','pairs=2','accuracy',0.0625);
INSERT INTO score VALUES(2,'mqar','valid','','accuracy',0.0625);
INSERT INTO score VALUES(2,'mqar','valid','pairs=2','accuracy',0.0625);
INSERT INTO score VALUES(2,'speed','decode','context=16','tokens_per_s',119695.42762597541149);
CREATE TABLE metric (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO metric VALUES(1,'train.loss');
INSERT INTO metric VALUES(2,'train.grad_norm');
INSERT INTO metric VALUES(3,'train.lr');
INSERT INTO metric VALUES(4,'valid.recall');
CREATE TABLE point (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    metric INTEGER NOT NULL REFERENCES metric (id),
    value REAL,
    PRIMARY KEY (run, step, metric)
) STRICT, WITHOUT ROWID;
INSERT INTO point VALUES(1,4,4,0.0625);
INSERT INTO point VALUES(2,4,4,0.0625);
CREATE TABLE student_t (
    df INTEGER PRIMARY KEY,
    t REAL NOT NULL
) STRICT;
INSERT INTO student_t VALUES(1,12.706200000000000827);
INSERT INTO student_t VALUES(2,4.302699999999999747);
INSERT INTO student_t VALUES(3,3.1823999999999998955);
INSERT INTO student_t VALUES(4,2.776400000000000201);
INSERT INTO student_t VALUES(5,2.5706000000000002181);
INSERT INTO student_t VALUES(6,2.4468999999999998529);
INSERT INTO student_t VALUES(7,2.3645999999999998131);
INSERT INTO student_t VALUES(8,2.3060000000000000497);
INSERT INTO student_t VALUES(9,2.2621999999999999886);
INSERT INTO student_t VALUES(10,2.2280999999999999694);
INSERT INTO student_t VALUES(11,2.2010000000000000675);
INSERT INTO student_t VALUES(12,2.1787999999999998479);
INSERT INTO student_t VALUES(13,2.160400000000000098);
INSERT INTO student_t VALUES(14,2.1448000000000000397);
INSERT INTO student_t VALUES(15,2.1314000000000001833);
INSERT INTO student_t VALUES(16,2.1198999999999998955);
INSERT INTO student_t VALUES(17,2.1097999999999998976);
INSERT INTO student_t VALUES(18,2.1009000000000002117);
INSERT INTO student_t VALUES(19,2.0929999999999999715);
INSERT INTO student_t VALUES(20,2.0859999999999998543);
INSERT INTO student_t VALUES(21,2.0796000000000001151);
INSERT INTO student_t VALUES(22,2.0739000000000000767);
INSERT INTO student_t VALUES(23,2.0687000000000002053);
INSERT INTO student_t VALUES(24,2.0638999999999998458);
INSERT INTO student_t VALUES(25,2.0594999999999998863);
INSERT INTO student_t VALUES(26,2.0554999999999998827);
INSERT INTO student_t VALUES(27,2.0518000000000000682);
INSERT INTO student_t VALUES(28,2.0483999999999999985);
INSERT INTO student_t VALUES(29,2.0451999999999999069);
INSERT INTO student_t VALUES(30,2.0423000000000000042);
INSERT INTO student_t VALUES(40,2.0211000000000001186);
INSERT INTO student_t VALUES(50,2.008599999999999941);
INSERT INTO student_t VALUES(60,2.000300000000000189);
INSERT INTO student_t VALUES(80,1.9900999999999999801);
INSERT INTO student_t VALUES(100,1.9839999999999999857);
INSERT INTO student_t VALUES(120,1.9798999999999999932);
CREATE TABLE IF NOT EXISTS "run" (
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
INSERT INTO run VALUES(1,'b4651f702ce13703468cdd492fa8a2d3','gla 1:1 lr=0.001 seed=0','gla','1:1','interleave','LF',1,1,16,2,2,0,0.0010000000000000000208,'{"name":"old","model":{"d_model":16,"layers":2,"heads":2,"mlp":16,"vocab":0,"norm_eps":1e-06,"init_std":0.02},"mixer":{"variant":"gla","ratio":"1:1","placement":"interleave","expand_k":0.5,"expand_v":1,"conv":0,"gate_rank":16,"gate_divisor":16},"full":{"variant":"softmax","conv":0,"kv_heads":0,"rope_base":10000,"qk_norm":false},"train":{"steps":4,"batch":2,"seq_len":16,"lr":0.001,"lr_end":0.1,"warmup":0.1,"schedule":"cosine","weight_decay":0.1,"clip":1,"beta1":0.9,"beta2":0.95,"eps":1e-08,"seed":0},"data":{"train":[{"task":"mqar","weight":1,"vocab":16,"pairs":[2],"power_a":0.01,"fill":"random","examples":8}],"eval":[{"task":"mqar","seq_len":16,"vocab":16,"pairs":[2],"power_a":0.01,"fill":"random","examples":8}]},"eval":{"every":0,"contexts":[16]},"run":{"device":"auto","threads":1,"timeout":0,"memory":0,"watchdog":600,"retries":1,"checkpoint_every":0,"isolate":"process","gang":0,"keep_checkpoint":false,"stop":null,"halving":null}}','done',NULL,1,'vm',0,1795731918.093054533,1795731918.2206168174,1,4,4,2091.0839234605305136,1795731918.2206094265);
INSERT INTO run VALUES(2,'81e802e9cc6aef9be6ababd3ab465782','retnet 1:1 lr=0.001 seed=0','retnet','1:1','interleave','LF',1,1,16,2,2,0,0.0010000000000000000208,'{"name":"old","model":{"d_model":16,"layers":2,"heads":2,"mlp":16,"vocab":0,"norm_eps":1e-06,"init_std":0.02},"mixer":{"variant":"retnet","ratio":"1:1","placement":"interleave","expand_k":1,"expand_v":2,"conv":0,"rope_base":10000},"full":{"variant":"softmax","conv":0,"kv_heads":0,"rope_base":10000,"qk_norm":false},"train":{"steps":4,"batch":2,"seq_len":16,"lr":0.001,"lr_end":0.1,"warmup":0.1,"schedule":"cosine","weight_decay":0.1,"clip":1,"beta1":0.9,"beta2":0.95,"eps":1e-08,"seed":0},"data":{"train":[{"task":"mqar","weight":1,"vocab":16,"pairs":[2],"power_a":0.01,"fill":"random","examples":8}],"eval":[{"task":"mqar","seq_len":16,"vocab":16,"pairs":[2],"power_a":0.01,"fill":"random","examples":8}]},"eval":{"every":0,"contexts":[16]},"run":{"device":"auto","threads":1,"timeout":0,"memory":0,"watchdog":600,"retries":1,"checkpoint_every":0,"isolate":"process","gang":0,"keep_checkpoint":false,"stop":null,"halving":null}}','done',NULL,1,'vm',0,1795731917.9654929637,1795731918.0915644168,1,4,4,2170.2428709385139882,1795731918.0915398597);
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
INSERT INTO attempt VALUES(1,1,'done',NULL,'vm',0,1795731918.093054533,1795731918.2206168174);
INSERT INTO attempt VALUES(2,1,'done',NULL,'vm',0,1795731917.9654929637,1795731918.0915644168);
CREATE INDEX sweep_run_by_run ON sweep_run (run, sweep);
COMMIT;
PRAGMA application_id = 0x68796c61; PRAGMA user_version = 5;
