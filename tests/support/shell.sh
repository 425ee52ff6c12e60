# What the scripts of tests/ share: a folder of their own, in which they run and which goes with
# them, and the checks. Sourced, not run. A script with processes to end defines cleanup() anew.
set -euo pipefail
# mpirun refuses root unless told twice.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
hylas=$HYLAS
folder=$(mktemp -d)
cleanup()
{
    :
}
trap 'cleanup; rm -rf "$folder"' EXIT
cd "$folder"

# Ends the test and shows the end of what its commands wrote, into log or NAME.log.
fail() # WHAT...
{
    echo "FAILED: $*" >&2
    tail -n 30 log ./*.log >&2 2>/dev/null || true
    exit 1
}
expect() # WHAT GOT WANTED
{
    [ "$2" = "$3" ] || fail "$1: got '$2', wanted '$3'"
}
# Runs a command into log and checks its exit code.
exits() # CODE COMMAND...
{
    local wanted=$1 code=0
    shift
    "$@" >log 2>&1 || code=$?
    expect "exit code of $*" $code "$wanted"
}
says() # TEXT
{
    grep -qF -- "$1" log || fail "the output does not say '$1'"
}
ask() # DB SQL
{
    sqlite3 -readonly -cmd '.timeout 20000' "$1" "$2"
}

children() # PID
{
    cat "/proc/$1/task/"*/children 2>/dev/null || true
}
is_trial() # PID
{
    [ "$(tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | cut -c 1-11)" = "hylas trial" ]
}
