#!/bin/bash
# Three hosts without a shared file system: network namespaces on a bridge, each with a file system
# of its own over the working folder. One is cut off in the middle of a sweep.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
isolate --mount --net --uts --pid --fork --mount-proc --kill-child
mount -t tmpfs none /run
ip link add bridge type bridge 2>/dev/null || {
    echo "skipped: no right to make a bridge of network namespaces"
    exit 77
}
hosts=(10.77.0.1 10.77.0.2 10.77.0.3)
ip link set bridge up
for ((i = 0; i < 3; i++)); do
    ip netns add host$i
    ip link add cable$i type veth peer name eth0 netns host$i
    ip link set cable$i master bridge up
    ip -n host$i address add ${hosts[i]}/24 dev eth0
    ip -n host$i link set eth0 up
    ip -n host$i link set lo up
done
sed -i 's/steps: 6000/steps: 40000/' sweep.yaml
printf '%s slots=1\n' "${hosts[@]}" >hosts

# What ssh would be: a shell on the other host, where the working folder is empty, /run/files apart.
cat >/run/agent <<'END_OF_AGENT'
#!/bin/bash
while [[ $1 == -* ]]; do shift; done
host=host$((${1##*.} - 1))
shift
exec ip netns exec $host unshare --mount --uts bash -c '
    hostname $0 && mount -t tmpfs none "$PWD" && cd "$PWD" && { cp /run/files/* . || true; }
    eval "$1"' $host "$*"
END_OF_AGENT
chmod +x /run/agent

across() # ARGUMENTS...
{
    ${replace:-} ip netns exec host0 "$hylas" launch --hostfile hosts sweep.yaml --lost-after 4 \
        "$@" -- --mca plm_rsh_agent /run/agent --mca oob_tcp_if_include eth0 \
        --mca btl_tcp_if_include eth0
}
trains_on() # DB HOST
{
    [ "$(ask "$1" "SELECT count(*) FROM progress WHERE status = 'running' AND host = '$2'
        AND step > 0")" -gt 0 ]
}

hostname host0

# Runs that start from the weights of others: these go to hosts that do not see them, and come from
# those.
cp sweep.yaml alone.yaml
(
    export TMPDIR=/run/scratch
    mkdir "$TMPDIR"
    with_sources
    exits 0 across -o weights.db
    expect "hosts that trained sources, and what starts from them" "$(ask weights.db "SELECT
        max(host <> 'host0' AND source IS NULL), max(host <> 'host0' AND source IS NOT NULL)
        FROM results")" "1|1"
    recovers weights.db
    [ -z "$(ls -d "$TMPDIR"/hylas-weights-* 2>/dev/null)" ] || fail "files of weights are left"
)
cp alone.yaml sweep.yaml

begin across -o x.db --set run.checkpoint_every=100
wait_until "host 2 trains" trains_on x.db host2
ip link set cable2 down
finish
expect "exit code with a host cut off" $code 0
says "has been silent for 4 s"
expect "attempts taken back" "$(ask x.db "SELECT count(*) FROM attempts
    WHERE status = 'interrupted' AND host = 'host2'")" 1
[ "$(ask x.db "SELECT count(*) FROM results WHERE host <> 'host0'")" -gt 0 ] ||
    fail "only host 0 has finished runs"
recovers x.db

# Data that a host lacks, or has in another version, fail the runs there, by name.
seq 5000 >corpus.txt
sed -i 's/{task: mqar[^}]*}/{task: text, path: corpus.txt}/; s/steps: 40000/steps: 20/' sweep.yaml
says_of_others() # DB TEXT
{
    expect "reasons of hosts without the right data" "$(ask "$1" "SELECT DISTINCT reason LIKE
        '%on ' || host || ': %$2%' FROM attempts WHERE host <> 'host0'")" 1
    expect "failures with the right data" \
        "$(ask "$1" "SELECT count(*) FROM attempts WHERE host = 'host0' AND status <> 'done'")" 0
}
sed -i 3d hosts
exits 1 across -o lacks.db
says_of_others lacks.db corpus.txt
mkdir /run/files
seq 5001 >/run/files/corpus.txt
exits 1 across -o differs.db
says_of_others differs.db "is not what rank 0 planned with"
echo "all good"
