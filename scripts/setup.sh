#!/usr/bin/env bash
# Makes a machine able to build and run Jobshop. It asks what is there first, so a second run is quick.
# Rust is a prerequisite and never installed here; checkers of `make check` are the business of tools.sh.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

require_rust() {
    if ! have cargo || ! have rustc; then
        die "Rust is missing. Install it with rustup (https://rustup.rs), then run this again."
    fi
    local wanted found
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
    found=$(rustc --version | cut -d ' ' -f 2)
    at_least "$found" "$wanted" ||
        die "Rust $found is too old, Jobshop needs $wanted. Update it with: rustup update stable"
}

require_system_packages() {
    local missing=()
    have cc || missing+=(build-essential)
    have mold || missing+=(mold)
    have git || missing+=(git)
    # Agents work in a sandbox (docs/operations.md); other systems than Linux have none.
    [ "$(uname)" != Linux ] || have bwrap || missing+=(bubblewrap)
    [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"

    local found
    found=$(git --version | cut -d ' ' -f 3)
    at_least "$found" 2.38 || die "git $found is too old: merging needs 2.38 (git merge-tree --write-tree)"
}

# The same places in the same order as the embedded cluster looks (docs/operations.md).
installed_postgres() {
    local bin
    for bin in "${JOBSHOP_PG_BIN:-}" "$(scripts/fetch-postgres.sh --where)/bin" \
        "$(pg_config --bindir 2>/dev/null || true)" \
        /usr/lib/postgresql/*/bin /usr/pgsql-*/bin "$(dirname "$(command -v postgres || echo /)")"; do
        [ -n "$bin" ] && [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] || continue
        at_least "$("$bin/postgres" --version | grep -oE '[0-9]+' | head -n 1)" 14 || continue
        echo "$bin"
        return
    done
    return 1
}

require_rust
require_system_packages
installed_postgres >/dev/null || scripts/fetch-postgres.sh
