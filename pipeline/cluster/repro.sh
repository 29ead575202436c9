#!/bin/sh
# The pipeline on a cluster's shared volume: what ray-job.yaml runs on the head, and pipeline/schedule in its pods.
# Each commit has a folder of its own, so that the same image goes on where it was, and another one starts anew with what
# the cache holds.
set -eu
from=${RECONV_SOURCE:-/opt/reconv}
shared=${RECONV_SHARED:-/shared}
commit=$(git -C "$from" rev-parse --short=12 HEAD)
folder=$shared/$commit
if [ ! -d "$folder" ]; then
    rm -rf "$folder.new"
    git clone --quiet --no-hardlinks "$from" "$folder.new"
    dvc --cd "$folder.new" cache dir --local "$shared/dvc-cache"
    mv "$folder.new" "$folder"
fi
cd "$folder"
# Of a user id without a passwd entry, for DVC.
export USER="${USER:-user}"
# Workers import the code of this commit, too.
export PYTHONPATH="$folder/src"
# RECONV_WAIT_FOR: what scale.py shall ask for, such as "--num-gpus=2 --num-cpus=8".
if [ -n "${RECONV_WAIT_FOR:-}" ]; then
    # shellcheck disable=SC2086
    python pipeline/cluster/scale.py $RECONV_WAIT_FOR
fi
# RECONV_COMMAND: another command of this folder, such as "python pipeline/retrain.py".
# shellcheck disable=SC2086
exec ${RECONV_COMMAND:-dvc repro} "$@"
