#!/bin/bash
# Deaths around runs that others start from: their weights are there when they are needed, or are
# trained again, and the sweep ends like an undisturbed one.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
with_sources
sed -i 's/train.steps: 2000/train.steps: 5000/; s/steps: 1000/steps: 2500/g' sweep.yaml # time to be hit in
ends() # COUNT: so many runs are done by what was committed
{
    [ "$(count $db done 2>/dev/null)" -ge "$1" ]
}

# The trial of a source: it fails, and those that wait for it say so.
db=trial.db
RANKS=2 begin recovering -o $db
wait_until "rank 1 trains" trains 1
kill -KILL "$(trial 1)"
finish
says "and 2 wait for sources among these"
expect "runs" "$(ask $db "SELECT status, count(*) FROM results GROUP BY status ORDER BY 1")" \
    "done|3
failed|1
pending|2"
expect "reason" "$(ask $db "SELECT DISTINCT reason FROM progress WHERE status = 'pending'" |
    grep -c "failed")" 1
recovers $db

# The rank of a source, and rank 0 with the first.
for victim in 1 0; do
    db=rank$victim.db
    begin recovering -o $db
    wait_until "rank $victim trains" trains $victim
    kill -KILL "$(rank $victim)"
    finish
    recovers $db
done

# All at once, when a source is done and its dependants train: at the next start its weights are
# still there.
db=all.db
begin recovering -o $db
wait_until "the sources are done" ends 2
wait_until "rank 1 trains" trains 1
kill -KILL $(ours)
finish
attempts=$(ask $db "SELECT sum(attempts) FROM progress JOIN results USING (run)
    WHERE source IS NULL")
recovers $db
expect "attempts of the sources" "$(ask $db "SELECT sum(attempts) FROM progress
    JOIN results USING (run) WHERE source IS NULL")" "$attempts"

# And when somebody has removed them, they are trained again, to the same bits.
db=lost.db
begin recovering -o $db
wait_until "the sources are done" ends 2
kill -KILL $(ours)
finish
rm -rf $db.ckpt
exits 0 "$hylas" run sweep.yaml -o $db
[ "$(contents $db)" = "$(reference)" ] || fail "the sweep differs from an uninterrupted one"
echo "all good"
