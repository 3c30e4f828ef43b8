#!/usr/bin/env bash
# A sweep as a Slurm array, one run in each job:
#
#   launch/slurm.sh --configs darts_first --seeds 0 1 2 --into runs/study
#
# The arguments are the same as for `nasjax sweep`. Set options of sbatch by its
# variables, which override the lines below: SBATCH_PARTITION, SBATCH_TIMELIMIT, ...
# Two minutes before its time limit a job gets a signal and writes its checkpoint. Slurm
# restarts a job that was preempted or whose node failed. After the time limit submit
# the same line again: finished runs end at once, the others resume.
#SBATCH --job-name=nasjax
#SBATCH --output=runs/slurm-%A_%a.out
#SBATCH --open-mode=append
#SBATCH --cpus-per-task=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
set -euo pipefail
if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    count=$(python -m nasjax.cli sweep --list "$@" | wc -l)
    mkdir -p runs
    exec sbatch --array="0-$((count - 1))" "$0" "$@"
fi
# exec: only the batch shell gets the signal (B:), so the sweep replaces the shell.
exec python -m nasjax.cli sweep --only "$SLURM_ARRAY_TASK_ID" "$@"
