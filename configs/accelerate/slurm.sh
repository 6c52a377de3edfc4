#!/usr/bin/env bash
#SBATCH --job-name=gflowvlm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
# Several machines under SLURM: one launcher a machine, one process a GPU. From the repository's root:
#     sbatch configs/accelerate/slurm.sh RECIPE [a.b=value ...] [--resume]
# Five minutes before the end of the allocation the run is asked to stop: it finishes its update, writes a
# checkpoint and goes on with --resume. The launcher grants its processes 30 seconds for that; what a
# longer update loses is itself, earlier checkpoints stay.
set -euo pipefail

machines="$(scontrol show hostnames "$SLURM_JOB_NODELIST")"
export address="${machines%%$'\n'*}" gpus=$((SLURM_NNODES * SLURM_GPUS_ON_NODE))
srun --kill-on-bad-exit=1 bash -c 'exec accelerate launch \
    --config_file configs/accelerate/several_nodes.yaml \
    --num_machines "$SLURM_NNODES" --num_processes "$gpus" \
    --machine_rank "$SLURM_NODEID" --main_process_ip "$address" \
    -m gflowvlm train "$@"' train "$@"
