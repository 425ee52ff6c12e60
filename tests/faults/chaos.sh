#!/bin/bash
# Kills at random moments of whatever is there, over repeated sweeps: no finished result is lost, or
# trained again, or wrong, and nothing is stuck. In every other sweep runs start from the weights of
# others, or select their layers.
#
#   HYLAS=build/hylas tests/faults/chaos.sh [KILLS [SEED]]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
kills=${1:-20}
seed=${2:-$SRANDOM}
RANDOM=$((seed & 0x7fff))
echo "$kills kills, seed $seed"

sed -i 's/steps: 6000/steps: 2000/; s/retries: 0/retries: 100, watchdog: 3/' sweep.yaml
cp sweep.yaml alone.yaml
declare -A struck # how often which signal met what
sweeps=0 starts=0 done_kills=0

chance() # N: one in N
{
    ((RANDOM % $1 == 0))
}
moment() # MILLISECONDS, at most
{
    local ms=$((RANDOM % $1))
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
}
victim() # WHAT
{
    case $1 in
    trial) trial $((RANDOM % 3)) ;;
    worker) rank $((1 + RANDOM % 2)) ;;
    "rank 0") rank 0 ;;
    mpirun) [ $kind = launch ] && mpirun_of_job || echo "$job" ;;
    launch) [ $kind != launch ] || echo "$job" ;;
    esac
}
# One process is hit. What was stopped goes on after a while, or is killed then. Ranks and trials of
# a launch may also stand still for ever: 1, since launch and mpirun, who are to find out, must then
# be left alone.
strike()
{
    local whats=(trial trial worker "rank 0" mpirun launch) signals=(KILL SEGV STOP) what signal pid
    what=${whats[RANDOM % 6]} signal=${signals[RANDOM % 3]}
    pid=$(victim "$what" 2>/dev/null | head -n 1)
    [ -n "$pid" ] && kill -$signal "$pid" 2>/dev/null || return 0
    done_kills=$((done_kills + 1))
    struck["$what SIG$signal"]=$((${struck["$what SIG$signal"]:-0} + 1))
    [ $signal = STOP ] || return 0
    if [ $kind = launch ] && [ "$what" != launch ] && [ "$what" != mpirun ] && chance 2; then
        return 1
    fi
    moment 3000
    chance 2 || kill -KILL "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true
}
# A start of the sweep, with some strikes; what was finished before is afterwards as it was.
start() # DB STRIKES
{
    local db=$1 strikes=$2 before
    before=$(finished "$db")
    starts=$((starts + 1))
    begin $kind -o "$db"
    # Where a rank dies before MPI is up, mpirun itself hangs; that is for launch to find out.
    until [ $kind != recovering ] || [ -e "$db-lock" ] || is_gone "$job"; do
        sleep 0.05
    done
    while ((strikes-- > 0 && done_kills < kills)) && ! is_gone "$job"; do
        moment 800
        strike || break
    done
    finish
    wait_until "all processes are gone" all_gone
    [ -z "$before" ] || [ "$(comm -12 <(echo "$before") <(finished "$db"))" = "$before" ] ||
        fail "a finished result was lost or trained again"
}

while ((done_kills < kills)); do
    sweeps=$((sweeps + 1))
    db=$sweeps.db
    cp alone.yaml sweep.yaml
    runs=4 reference=reference.db
    case $((sweeps % 6)) in
    2) with_selection gates ;;
    4) with_selection kl ;;
    0) with_sources ;;
    esac
    for ((round = 0; round < 3; round++)); do
        [ ! -s $db ] || (($(count $db done) < runs)) || break
        kinds=(launch launch recovering plain)
        kind=${kinds[RANDOM % 4]}
        start $db 5
    done
    recovers $db
    rm -f $db
done
for what in "${!struck[@]}"; do
    echo "$what: ${struck[$what]}"
done | sort
echo "$done_kills kills in $starts starts of $sweeps sweeps, seed $seed:" \
    "0 finished results lost, 0 trained again, 0 wrong, 0 stuck"
