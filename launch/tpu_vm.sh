#!/usr/bin/env bash
# A sweep on n Cloud TPU VMs of one host each: each VM takes every nth run.
#
#   launch/tpu_vm.sh ZONE VM[,VM...] --configs darts_first --seeds 0 1 2 \
#       --into runs/study
#
# The arguments after the VMs are the same as for `nasjax sweep`. On each VM nasjax is
# installed, and its runs are in ~/nasjax. The sweep continues when the connection ends; the
# same command resumes a sweep that has ended. To follow, stop and fetch it on each VM:
#
#   gcloud compute tpus tpu-vm ssh VM --zone=ZONE --command='tail -f nasjax/sweep.log'
#   gcloud compute tpus tpu-vm ssh VM --zone=ZONE --command='pkill -f nasjax.cli'
#   gcloud compute tpus tpu-vm scp --recurse VM:nasjax/runs/study runs --zone=ZONE
set -euo pipefail
zone=${1:?give a zone, the VMs and the sweep}
IFS=, read -ra vms <<< "${2:?give the VMs, separated by commas}"
shift 2
count=$(python -m nasjax.cli sweep --list "$@" | wc -l)
for i in "${!vms[@]}"; do
    mapfile -t numbers < <(seq "$i" "${#vms[@]}" "$((count - 1))")
    [ "${#numbers[@]}" -gt 0 ] || continue
    # One process at a time: it holds all chips of its VM.
    sweep=$(printf '%q ' python -m nasjax.cli sweep --jobs 1 --only "${numbers[@]}" "$@")
    gcloud compute tpus tpu-vm ssh "${vms[$i]}" --zone="$zone" \
        --command="cd nasjax && { nohup $sweep > sweep.log 2>&1 < /dev/null & }"
done
