# What every script shares: the repository's root, the tools' folder, and how to speak and to install.
# Sourced, never run. It knows nothing of what the scripts do.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
# shellcheck disable=SC2034 # the demo clones it
root=$PWD
out=${CARGO_TARGET_DIR:-$root/target}
tools=$out/tools
export PATH="$tools/bin:$PATH"
# Queries are checked against .sqlx/, never against whatever server DATABASE_URL happens to name.
export SQLX_OFFLINE=true

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }

die() {
    say "$@"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Installs Debian packages as root; anybody else is told the command.
install_packages() {
    if [ "$(id -u)" != 0 ] || ! have apt-get; then
        die "missing: $*. Install them, on Debian with: sudo apt-get install -y $*"
    fi
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Clusters with data directories of their own hold no fetched Postgres: they are told where it is, if it is.
name_fetched_postgres() {
    local fetched
    fetched=$(scripts/fetch-postgres.sh --where)/bin
    if [ -z "${JOBSHOP_PG_BIN:-}" ] && [ -x "$fetched/postgres" ]; then export JOBSHOP_PG_BIN=$fetched; fi
}

# Succeeds when version $1 is at least version $2.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }
