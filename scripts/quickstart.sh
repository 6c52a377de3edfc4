#!/usr/bin/env bash
# The main job in minutes on two cores: measures the start model on NumberLine, trains it with
# sub-trajectory balance, measures it again and prints both beside chance and the exact optimum.
# Arguments are overrides, for example trainer.max_updates=20.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

name="quickstart-$(date +%Y%m%d-%H%M%S)"
python -m gflowvlm train configs/number_line/subtb.yaml "name=$name" "$@"
