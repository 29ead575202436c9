#!/bin/sh
# Makes this machine a node of a Ray cluster, by hand:
#   pipeline/cluster/node.sh head [ADDRESS]             the first machine; ADDRESS is its own, by which the others reach it
#   pipeline/cluster/node.sh join HEAD:PORT ADDRESS     every other one, with a copy of the first one's token file
#   pipeline/cluster/node.sh stop
# Without ADDRESS the head listens on the loopback address alone; with one, Ray listens on every interface of the machine.
# PORT, DASHBOARD_PORT and RAY_TMPDIR change what they name; what else is said, `ray start` gets:
#   pipeline/cluster/node.sh head 10.0.0.5 --num-cpus=8
set -eu
: "${RAY_AUTH_TOKEN_PATH:=${XDG_CONFIG_HOME:-$HOME/.config}/reconv/ray-token}"
export RAY_AUTH_TOKEN_PATH RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# Without it a task that asks for no GPU sees all of them.
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1
# A token in the environment would go before the file, and be seen in every process's environment.
unset RAY_AUTH_TOKEN

fail() {
    echo "$1" >&2
    exit 1
}

token() {
    if [ ! -s "$RAY_AUTH_TOKEN_PATH" ]; then
        [ "$1" = head ] || fail "$RAY_AUTH_TOKEN_PATH is missing: copy the head's there, with mode 600"
        (umask 077 && mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")" && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH")
    fi
    [ -z "$(find "$RAY_AUTH_TOKEN_PATH" -perm /077)" ] || fail "$RAY_AUTH_TOKEN_PATH can be read by others: chmod 600 $RAY_AUTH_TOKEN_PATH"
}

command=${1:-}
[ $# -eq 0 ] || shift
case "$command" in
head)
    token head
    case "${1:-}" in
    '' | -*)
        address=127.0.0.1
        # By itself Ray takes this for the machine's outer address, unless it believes itself on a laptop.
        export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
        ;;
    *)
        address=$1
        shift
        ;;
    esac
    # The dashboard starts jobs: it stays on the loopback address, to be reached through `ssh -L 8265:127.0.0.1:8265`.
    ray start --head --node-ip-address="$address" --port="${PORT:-6379}" \
        --dashboard-host=127.0.0.1 --dashboard-port="${DASHBOARD_PORT:-8265}" --disable-usage-stats \
        ${RAY_TMPDIR:+--temp-dir="$RAY_TMPDIR"} "$@"
    echo "What runs on it: export RAY_ADDRESS=$address:${PORT:-6379} RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$RAY_AUTH_TOKEN_PATH"
    if [ "$address" = 127.0.0.1 ]; then
        echo "and RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, as it listens on the loopback address alone."
    else
        echo "The others: copy the token file there (mode 600), then pipeline/cluster/node.sh join $address:${PORT:-6379} THEIR-ADDRESS"
    fi
    ;;
join)
    [ $# -ge 2 ] || fail "join what, as whom? pipeline/cluster/node.sh join HEAD:PORT ADDRESS"
    token join
    head=$1 address=$2
    shift 2
    ray start --address="$head" --node-ip-address="$address" --disable-usage-stats "$@"
    ;;
stop) ray stop ;;
*) fail "say head, join or stop: see the first lines of $0" ;;
esac
