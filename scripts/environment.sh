# Sourced by the other scripts: changes to the repository's root, provides a virtual environment
# with everything pyproject.toml asks for, and puts its Python on PATH.
#
# Environments live outside the clone under a name made of pyproject.toml and the Python version,
# so that clones share them. They hold the dependencies only: an editable install inside a shared
# environment would point at whichever clone ran last, so this clone is found through PYTHONPATH.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
            2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    echo "found no Python 3.11 to 3.13 (tried ${PYTHON:-python3 and python3.11 to 3.13});" \
        "install one or set PYTHON" >&2
    return 1
}

install_into() {
    local venv="$1" python="$2"
    echo "installing the dependencies of pyproject.toml into $venv ..." >&2
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" - >"$venv/requirements.txt" <<'PYTHON_END'
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
print("\n".join(project["dependencies"] + project["optional-dependencies"]["dev"]))
PYTHON_END
    "$venv/bin/python" -m pip install --quiet -r "$venv/requirements.txt" >&2
    touch "$venv/.complete"
}

provide_environment() {
    local python name root
    python="$(find_python)"
    name="$({ cat pyproject.toml; "$python" -VV; } | "$python" -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')"
    root="${GFLOWVLM_VENV_ROOT:-$HOME/.cache/gflowvlm/venvs}"
    mkdir -p "$root"
    VIRTUAL_ENV="$root/$name"
    if [ ! -e "$VIRTUAL_ENV/.complete" ]; then
        (
            # Two clones may come here at once; the second waits and finds the work done.
            if command -v flock >/dev/null; then flock 9; fi
            [ -e "$VIRTUAL_ENV/.complete" ] || install_into "$VIRTUAL_ENV" "$python"
        ) 9>"$root/$name.lock"
    fi
    export VIRTUAL_ENV PATH="$VIRTUAL_ENV/bin:$PATH"
    export PYTHONPATH="$PWD:$PWD/envs"
}

provide_environment
