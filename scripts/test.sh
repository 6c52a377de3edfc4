#!/usr/bin/env bash
# All checks of the house. Stops at the first that fails, so a last line with pytest's summary
# means that everything before it held too. Arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
provide_extra alfworld

ruff check .
ruff format --check .
pyright
python -m pytest "$@"
