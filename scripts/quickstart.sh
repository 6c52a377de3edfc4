#!/usr/bin/env bash
# Measures the pocket model on NumberLine, trains it with sub-trajectory balance on a CPU, and
# measures it again beside its start. Arguments are overrides, for example trainer.max_updates=20.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

recipe=configs/number_line/subtb.yaml
name="quickstart-$(date +%Y%m%d-%H%M%S)"

python -m gflowvlm evaluate "$recipe"
python -m gflowvlm train "$recipe" "name=$name" output=runs "$@"
python -m gflowvlm evaluate "runs/$name" --start
