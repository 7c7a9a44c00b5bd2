# shellcheck shell=bash
# How the clients that are written in Python are run, each in a virtual environment of its own. Source it.

# shellcheck source=../../build/environment/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../build/environment/lib.sh"

# install_python_client FOLDER: installs what the folder's requirements.txt names, once. Sets `venv`, the environment that has it.
install_python_client() {
    venv=$state_root/$(basename "$1")
    python_environment "$1" "$venv"
}

# run_python_client FOLDER [PYTEST ARGUMENT...]: installs them, and runs the folder's tests.
run_python_client() {
    local folder=$1
    shift
    install_python_client "$folder"
    # Bytecode and caches stay out of the source tree.
    export PYTHONDONTWRITEBYTECODE=1
    cd "$folder" || return
    exec "$venv/bin/python" -m pytest -p no:cacheprovider "$@"
}
