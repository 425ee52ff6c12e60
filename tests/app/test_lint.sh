#!/usr/bin/env bash
# Lints the sources: who may include whom (docs/design.md, "Layout"), and what CONTRIBUTING.md asks for.
# Prints every breach and fails if there is one.
set -euo pipefail
cd "${HYLAS_SOURCE:-$(dirname "${BASH_SOURCE[0]}")/../..}"

folders=()
for folder in app bench core db report runner tests variants; do
    [[ -d $folder ]] && folders+=("$folder")
done
mapfile -t sources < <(find "${folders[@]}" -name '*.[ch]' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | sort)
((${#sources[@]})) || { echo "no sources in $PWD"; exit 1; }
mapfile -t texts < <(find . \( -name .git -o -name 'build*' -o -name golden \) -prune -o \
    -type f \( -name '*.[ch]' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' -o -name '*.sh' \
    -o -name '*.py' -o -name '*.md' -o -name '*.txt' -o -name '*.cmake' -o -name '*.yaml' \
    -o -name '*.json' -o -name '*.sql' -o -name check \
    -o -name demo -o -name run \) -print | sort)

# What each file includes. The longest folder that begins a file's path says what it may.
includes() {
    awk '
    BEGIN {
        may["core/base"] = "core/base"
        may["core/graph"] = "core/base core/graph"
        may["core/ops"] = "core/base core/graph core/ops"
        may["core/mixers"] = "core/base core/graph core/ops core/mixers"
        may["core/model"] = may["core/mixers"] " core/model"
        may["core/tasks"] = "core/base core/tasks"
        may["core/selection"] = may["core/model"] " core/selection"
        may["core/config"] = "core/base core/graph core/mixers/variant.h core/model core/selection " \
                             "core/tasks core/config"
        may["core/objectives"] = may["core/model"]
        may["core/interchange"] = may["core/config"] " core/interchange"
        may["core/trial"] = may["core/interchange"] " core/ops/products/gemm.h core/trial"
        may["variants"] = "core/base core/graph core/ops core/mixers"
        may["runner"] = "core/base core/config core/mixers/variant.h core/model/kind.h core/ops/products/gemm.h " \
                        "core/tasks/task.h core/trial db runner"
        may["db"] = "core/base db"
        may["report"] = "core/base db report"
        # Builders are for all who compose ops; what they share inside is not.
        may_not["variants"] = "core/ops/support core/ops/products/gemm.h core/ops/products/micro.h"

        only["mpi.h"] = "runner/comm/comm_mpi.c"
        only["yaml.h"] = "runner/plan/sweep.c"
        only["sqlite3.h"] = "db/"
        only["cuda_runtime.h"] = only["cublas_v2.h"] = "core/graph/cuda.cuh"
        only["dnnl.h"] = only["oneapi/dnnl/dnnl.h"] = "core/ops/products/"
    }
    function begins(path, list,   n, i, entries) {
        n = split(list, entries, " ")
        for (i = 1; i <= n; i++)
            if (path == entries[i] || index(path, entries[i] (entries[i] ~ /\/$/ ? "" : "/")) == 1)
                return 1
        return 0
    }
    /^[ \t]*#[ \t]*include[ \t]*[<"]/ {
        quoted = $0 ~ /"/
        name = $0
        sub(/^[^<"]*[<"]/, "", name)
        sub(/[>"].*$/, "", name)
        where = FILENAME ":" FNR ": "
        if (name in only && FILENAME !~ /^(tests|bench)\// && !begins(FILENAME, only[name]))
            print where name " belongs to " only[name]
        if (name ~ /^(cuda|cublas|mma)[a-z0-9_]*\.h/ && FILENAME !~ /\.cuh?$/)
            print where name " outside CUDA sources"
        if (!quoted)
            next
        if (name !~ /\//)
            print where "\"" name "\" is not written as a path from the root"
        for (folder in may)
            if (begins(FILENAME, folder)) {
                if (!begins(name, may[folder]))
                    print where folder " may not include " name
                if (folder in may_not && begins(name, may_not[folder]))
                    print where folder " may not include " name
            }
    }' "${sources[@]}"
}

# Lengths, guards and habits of C sources.
habits() {
    awk '
    function finish() {
        if (lines > 600)
            print file ": " lines " lines; past 600 a file is split"
        if (file ~ /\.h$/ && guard != 3)
            print file ": no include guard"
    }
    FNR == 1 { if (file) finish(); file = FILENAME; guard = 0; name = "" }
    { lines = FNR }
    # Bytes of UTF-8 beyond the first of a character are not columns.
    { text = $0; gsub(/[\200-\277]/, "", text) }
    length(text) > 100 { print FILENAME ":" FNR ": " length(text) " columns" }
    /^#ifndef HY_[A-Z0-9_]+_H$/ && !guard { guard = 1; name = $2 }
    /^#define / && guard == 1 && $2 == name { guard = 2 }
    /^#endif/ && guard >= 2 { guard = 3 }
    /^#/ && !/^#endif/ && guard == 3 { guard = 2 }
    /typedef[ \t]+(struct|union)/ { print FILENAME ":" FNR ": typedef of a struct" }
    /\t/ { print FILENAME ":" FNR ": tab" }
    /[ ]$/ { print FILENAME ":" FNR ": blank at the end" }
    END { finish() }' "${sources[@]}"
}

# Guards' names follow the path: core/base/err.h has HY_BASE_ERR_H, db/store.h HY_DB_STORE_H.
guards() {
    local file want
    for file in "${sources[@]}"; do
        [[ $file == *.h && $file != tests/* ]] || continue
        want=${file#core/}
        want=${want^^}
        want=HY_${want//[^A-Z0-9]/_}
        grep -qx "#ifndef $want" "$file" || echo "$file: its guard is not $want"
    done
}

# Paths of one machine, and work left undone.
leftovers() {
    grep -nE '(^|[^[:alnum:]_.])/(home|work|root|Users)/' "${texts[@]}" || true
    grep -nwE 'TODO|FIXME|XXX' "${sources[@]}" || true
}

breaches=$(LC_ALL=C includes; LC_ALL=C habits; guards; leftovers)
if [[ -n $breaches ]]; then
    echo "$breaches"
    exit 1
fi
echo "${#sources[@]} sources keep the rules"
