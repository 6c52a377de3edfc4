# Sourced by the other scripts: changes to the repository's root, provides a virtual environment
# with everything pyproject.toml asks for, and puts its Python on PATH.
#
# Environments live outside the clone under a name made of pyproject.toml and the Python version,
# so that clones share them. They hold the dependencies only: an editable install inside a shared
# environment would point at whichever clone ran last, so this clone is found through PYTHONPATH.
# A script that needs an optional extra asks for it by `provide_extra NAME`; it is added once.

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

# Prints what pyproject.toml asks for, and what its extra does.
requirements_with() {
    "$1" - "$2" <<'PYTHON_END'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
print("\n".join(project["dependencies"] + project["optional-dependencies"][sys.argv[1]]))
PYTHON_END
}

install_into() {
    local venv="$1" python="$2"
    echo "installing the dependencies of pyproject.toml into $venv ..." >&2
    rm -rf "$venv"
    "$python" -m venv "$venv"
    requirements_with "$venv/bin/python" dev >"$venv/requirements.txt"
    "$venv/bin/python" -m pip install --quiet -r "$venv/requirements.txt" >&2
    touch "$venv/.complete"
}

# An extra may have to be compiled; what that takes is asked for before minutes are spent.
install_extra() {
    local name="$1" tool
    for tool in cc c++ make; do
        command -v "$tool" >/dev/null && continue
        echo "found no $tool, expected what compiles the extra '$name': install a C and C++" \
            "compiler and make (on Debian: apt-get install build-essential), then run this again" >&2
        return 1
    done
    echo "adding the extra '$name' to $VIRTUAL_ENV, which takes minutes where it compiles ..." >&2
    requirements_with python "$name" >"$VIRTUAL_ENV/requirements-$name.txt"
    if ! python -m pip install --quiet -r "$VIRTUAL_ENV/requirements-$name.txt" >&2; then
        echo "the extra '$name' could not be installed: pip says why above" >&2
        return 1
    fi
    touch "$VIRTUAL_ENV/.extra-$name"
}

provide_environment() {
    local python name root
    python="$(find_python)"
    name="$({ cat pyproject.toml; "$python" -VV; } | "$python" -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')"
    root="${GFLOWVLM_VENV_ROOT:-$HOME/.cache/gflowvlm/venvs}"
    mkdir -p "$root"
    VIRTUAL_ENV="$root/$name"
    once "$VIRTUAL_ENV/.complete" install_into "$VIRTUAL_ENV" "$python"
    export VIRTUAL_ENV PATH="$VIRTUAL_ENV/bin:$PATH"
    export PYTHONPATH="$PWD:$PWD/envs"
}

provide_extra() {
    once "$VIRTUAL_ENV/.extra-$1" install_extra "$1"
}

# Runs a command unless the file stands there, which the command makes when it has succeeded.
once() {
    local made="$1"
    [ ! -e "$made" ] || return 0
    (
        # Two clones may come here at once; the second waits and finds the work done.
        if command -v flock >/dev/null; then flock 9; fi
        [ -e "$made" ] || "${@:2}"
    ) 9>"$VIRTUAL_ENV.lock"
}

provide_environment
