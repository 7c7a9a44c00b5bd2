# shellcheck shell=bash
# How the clients that are written in Python are run, each in a virtual environment of its own. Source it.

# shellcheck source=../../build/environment/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../build/environment/lib.sh"

# install_python_client FOLDER: installs what the folder's requirements.txt names, once. Sets `venv`, the environment that has it.
install_python_client() {
    local folder=$1
    venv=$state_root/$(basename "$folder")
    if ! cmp -s "$folder/requirements.txt" "$venv/requirements.txt"; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
        say "installing $(head -1 "$folder/requirements.txt")"
        python3 -m venv --clear "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$folder/requirements.txt"
        cp "$folder/requirements.txt" "$venv/requirements.txt"
    fi
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
