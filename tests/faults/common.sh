# What the drills of this folder share: a sweep of runs that take about a second, ways to find its
# processes and wait for its states, and the check that every drill ends with. Sourced, not run.
#
# A drill harms a sweep and then calls `recovers DB`: the same command finishes it, and what it then
# says equals, value for value, an uninterrupted sweep.
drill=$(realpath "$0")
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"
started=() # processes to be gone at the end
job=       # the one that runs now
disks=()   # mounted
cleanup()
{
    local pid disk
    for pid in "${started[@]}"; do
        kill -CONT "$pid" 2>/dev/null || true
        kill -KILL "$pid" 2>/dev/null || true
    done
    for pid in $(ours); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    cd /
    for disk in "${disks[@]}"; do
        umount -l "$disk" 2>/dev/null || true
    done
}

# Waits until a command succeeds; the limit only ends a broken test, as the end of $job does.
wait_until() # WHAT COMMAND...
{
    local what=$1 i
    shift
    for ((i = 0; i < 2400; i++)); do
        ! "$@" >/dev/null 2>&1 || return 0
        [ -z "$job" ] || ! is_gone "$job" || i=2399 # one last look
        sleep 0.05
    done
    ! "$@" >/dev/null 2>&1 || return 0
    fail "waited in vain until $what"
}
# Starts a command in the background, output into log; its process is $job. A function gives its
# shell's place to the command that it puts $replace before.
begin() # COMMAND...
{
    replace=exec "$@" >log 2>&1 &
    job=$!
    started+=("$job")
}
# Waits for $job and keeps its exit code in $code.
finish()
{
    code=0
    wait_until "the sweep ends" is_gone "$job"
    wait "$job" 2>/dev/null || code=$?
    job=
}

# Four runs, two of them of one variant, each with a curve and checkpoints on the way.
cat >sweep.yaml <<'END_OF_SWEEP'
name: drill
model: {d_model: 32, layers: 2, heads: 2, mlp: 32}
data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 64}]}
train: {steps: 6000, batch: 2, seq_len: 16}
eval: {every: 1000}
run: {retries: 0, checkpoint_every: 300}
mixer: {ratio: pure}
matrix:
  mixer.variant: [gla, retnet]
  train.seed: [0, 1]
END_OF_SWEEP
runs=4
reference=reference.db # of an uninterrupted sweep

# The four runs start from the weights of two more, one for each seed, and learn in two stages from
# those as their teachers.
with_sources()
{
    cat >>sweep.yaml <<'END_OF_SECTIONS'
init: {from: {mixer.ratio: full, train.steps: 2000}}
stages:
  - {objective: [logits, output], steps: 1000, train: [mixers]}
  - {objective: lm, steps: 1000, lora: {rank: 2, on: [q_proj, v_proj]}}
END_OF_SECTIONS
    sed -i 's/ratio: pure/ratio: pure, expand_k: 1, expand_v: 1/' sweep.yaml
    runs=6 reference=sources.db
}

# The four runs choose their layers: by gates, or by probes from the weights of two more runs; where the
# tolerance is broken, layers are given back.
with_selection() # METHOD
{
    sed -i '/^mixer:/d; /^matrix:/,$d' sweep.yaml
    cat >>sweep.yaml <<'END_OF_SECTIONS'
mixer: {variant: gla, expand_k: 1, expand_v: 1}
matrix:
  train.seed: [0, 1]
  train.lr: [1e-3, 2e-3]
END_OF_SECTIONS
    if [ "$1" = gates ]; then
        sed -i 's/steps: 2000/steps: 800/' sweep.yaml
        echo 'select: {method: gates, budget: 1, steps: 800}' >>sweep.yaml
        runs=4 reference=gates.db
    else
        sed -i 's/steps: 2000/steps: 500/' sweep.yaml
        cat >>sweep.yaml <<'END_OF_SECTIONS'
init: {from: {mixer.ratio: full, train: {steps: 1000, lr: 1e-3}}}
select: {method: kl, tolerance: 0 recall, steps: 300, repair: 1}
END_OF_SECTIONS
        runs=6 reference=kl.db
    fi
}

# Ranks that go on when one of them dies, and notice soon. RANKS: how many.
recovering()
{
    ${replace:-} mpirun --enable-recovery --oversubscribe -n "${RANKS:-3}" "$hylas" run sweep.yaml \
        --lost-after 2 "$@"
}
plain()
{
    ${replace:-} mpirun --oversubscribe -n "${RANKS:-2}" "$hylas" run sweep.yaml "$@"
}

launch() # ARGUMENTS...
{
    ${replace:-} "$hylas" launch -n "${RANKS:-3}" sweep.yaml --lost-after 2 "$@"
}

# The process of a rank: a child of mpirun, which is $job or its child.
rank() # NUMBER
{
    local pid near
    near=$(children "$job")
    for pid in $near $(for pid in $near; do children "$pid"; done); do
        ! grep -qzx "OMPI_COMM_WORLD_RANK=$1" "/proc/$pid/environ" 2>/dev/null ||
            is_trial "$pid" || echo "$pid"
    done
}
# The mpirun of a launch, which is $job.
mpirun_of_job()
{
    children "$job" | tr -d ' '
}
# The trial of a rank.
trial() # RANK
{
    local pid
    for pid in $(children "$(rank "$1")"); do
        ! is_trial "$pid" || echo "$pid"
    done
}
# Whether a rank is well into a run: the run's first checkpoint is there. Keeps the path, from the
# order on the trial's standard input, in $checkpoint.
trains() # RANK
{
    checkpoint=$(sed 's/.*"checkpoint":"\([^"]*\)".*/\1/' "/proc/$(trial "$1")/fd/0") &&
        [ -s "$checkpoint" ]
}
# All processes that work in this drill's folder, the drill itself apart.
ours()
{
    local entry pid
    for entry in /proc/[0-9]*; do
        pid=${entry#/proc/}
        [ "$entry/cwd" -ef "$folder" ] || continue
        case $(tr '\0' ' ' <"$entry/cmdline" 2>/dev/null || true) in
        hylas* | *mpirun* | *orted* | "$hylas"*) echo "$pid" ;;
        esac
    done
}
is_gone() # PID
{
    [ ! -e "/proc/$1" ] || grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"
}
all_gone()
{
    [ -z "$(ours)" ]
}
count() # DB STATUS
{
    ask "$1" "SELECT count(*) FROM results WHERE status = '$2'"
}

# Starts the drill anew in namespaces of its own, whose mounts nobody else sees and which end with
# it. Where that is not allowed the drill is skipped.
isolate() # FLAGS OF unshare...
{
    [ -z "${isolated:-}" ] || return 0
    unshare "$@" mount -t tmpfs none "$folder" 2>/dev/null || {
        echo "skipped: unshare $* and mount, for which one must be root, are not allowed"
        exit 77
    }
    cd / && rm -rf "$folder"
    isolated=1 exec unshare "$@" bash "$drill"
}
# A file system of its own, in memory.
disk() # FOLDER SIZE
{
    mkdir -p "$1"
    mount -t tmpfs -o size="$2" none "$1"
    disks+=("$folder/$1")
}

# All that a finished sweep says, but for what names its processes and measures time.
contents() # DB
{
    local columns
    columns=$(ask "$1" "SELECT group_concat('quote(' || name || ')', '||'',''||')
        FROM pragma_table_info('results') WHERE name NOT IN
        ('run', 'source', 'peak_rss_bytes', 'tokens_per_s', 'wall_s', 'host', 'config')")
    ask "$1" "SELECT $columns, (SELECT key FROM results AS s WHERE s.run = r.source)
            FROM results AS r ORDER BY key;
        SELECT key, step, history.name, quote(value) FROM history JOIN results USING (run)
            ORDER BY 1, 2, 3;
        SELECT key, task, split, slice, metric, quote(value) FROM slices JOIN results USING (run)
            WHERE metric NOT LIKE '%per_s%' ORDER BY 1, 2, 3, 4, 5"
}
# What an uninterrupted sweep says, trained once per drill.
reference()
{
    [ -f $reference ] || "$hylas" run sweep.yaml -o $reference >/dev/null 2>&1 ||
        fail "the uninterrupted sweep failed"
    contents $reference
}
# The finished runs and when they were, to see later that none was trained again.
finished() # DB
{
    [ ! -s "$1" ] || ask "$1" "SELECT key, attempts, started, ended
        FROM progress JOIN results USING (run) WHERE progress.status IN ('done', 'diverged')
        ORDER BY key"
}
# The end of every drill: the same command finishes the sweep.
recovers() # DB [COMMAND...]
{
    local db=$1 before after
    shift
    (($#)) || set -- "$hylas" run sweep.yaml -o "$db"
    wait_until "all processes are gone" all_gone
    before=$(finished "$db")
    exits 0 "$@"
    after=$(finished "$db")
    expect "integrity" "$(ask "$db" 'PRAGMA integrity_check')" ok
    expect "runs done" "$(count "$db" done)" $runs
    expect "attempts still running" \
        "$(ask "$db" "SELECT count(*) FROM attempts WHERE status = 'running'")" 0
    [ -z "$before" ] || [ "$(comm -12 <(echo "$before") <(echo "$after"))" = "$before" ] ||
        fail "a finished run was trained again"
    [ "$(contents "$db")" = "$(reference)" ] || {
        diff <(reference) <(contents "$db") | head -n 10 >&2
        fail "the sweep differs from an uninterrupted one"
    }
    # One may be: of a result that was committed in the moment of the kill.
    [ "$(find "$db.ckpt" -type f 2>/dev/null | wc -l)" -le 1 ] ||
        fail "checkpoints of finished runs are left: $(ls "$db.ckpt")"
}
