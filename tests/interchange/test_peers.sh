#!/bin/bash
# Folders of models against the programs that they are for, where Python has these; else skipped.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"
here=$HYLAS_SOURCE/tests/interchange
skipped=0
check() # SCRIPT ARGUMENTS...
{
    local code=0
    python3 "$here/$1" "${@:2}" >log 2>&1 || code=$?
    [ $code = 0 ] || [ $code = 77 ] || fail "$1"
    grep -v "^\[transformers\]\|Loading\|Writing" log || true
    [ $code != 77 ] || skipped=77
}
check peers.py "$hylas" llama
check peers.py "$hylas" fla
check smollm2.py smollm2 "$hylas"
exit $skipped
