#!/bin/bash
# The time of day jumps, by seconds and by years, back and forth, all through a sweep: only what is
# noted down as time differs.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Sanitizers want to be loaded first; here they need not be.
export ASAN_OPTIONS=verify_asan_link_order=0:${ASAN_OPTIONS:-}
jumps=(100000000 -1600000000 3600 -1 0)
echo -1000000 >shift
CLOCK_SHIFT=$PWD/shift LD_PRELOAD=$(dirname "$hylas")/tests/clock_shift.so \
    begin recovering -o x.db --set run.timeout=10m
wait_until "rank 1 trains" trains 1
for ((i = 0; i < 1200; i++)); do
    ! is_gone "$job" || break
    echo "${jumps[i % ${#jumps[@]}]}" >shift
    "$hylas" status x.db >status 2>&1 || fail "status: $(cat status)"
    ! grep -qE '(^|[^0-9a-z])-[0-9]' status || fail "negative times: $(cat status)"
    sleep 0.1
done
finish
expect "exit code" $code 0
expect "attempts" "$(ask x.db 'SELECT count(*) FROM attempts')" $runs
(($(ask x.db 'SELECT count(*) FROM attempts WHERE abs(ended - started) > 500000'))) ||
    fail "the clock did not jump: $(ask x.db 'SELECT started, ended FROM attempts' | tr '\n' ' ')"
(($(ask x.db 'SELECT max(wall_s) < 600 FROM results'))) || fail "a run took longer than the drill"
recovers x.db
echo "all good"
