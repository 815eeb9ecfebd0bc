#!/bin/bash
# A run of several processes under Slurm: sbatch configs/slurm.sh build/rlhf rl CONFIG run.dir=DIR ...
# One task per GPU, or per socket of a CPU node. The job goes on after a requeue: run.dir holds what it needs.
#SBATCH --job-name=rlhf
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
# mpirun takes hosts and tasks from Slurm; where a site wants srun: srun --mpi=pmix "$@" run.resume=true
RANKS=$SLURM_NTASKS "$(dirname "$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')")/supervise.sh" "$@"
status=$?
# What another set of nodes may mend goes back into the queue.
case $status in 75 | 77 | 137 | 143 | 205) scontrol requeue "$SLURM_JOB_ID" ;; esac
exit $status
