#!/usr/bin/env bash
# One config with several seeds, one after the other; started again, it resumes.
#
#   launch/seeds.sh configs/zarts_mgs.py 0 1 2 [-- --config.FIELD=VALUE ...]
set -euo pipefail
config=${1:?give a config file, then seeds}
shift
seeds=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do seeds+=("$1"); shift; done
[ $# -gt 0 ] && shift
name=$(basename "${config%%:*}" .py)
for seed in "${seeds[@]:?give at least one seed}"; do
    python -m nasjax.main --config="$config" --config.seed="$seed" \
        --workdir="runs/$name-seed$seed" "$@"
done
