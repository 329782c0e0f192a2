#!/usr/bin/env bash
# Everything that judges the code without running it. Every check runs, so that one round shows all problems.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

failed=()
check() {
    local name=$1
    shift
    say "$name"
    "$@" || failed+=("$name")
}

migrations() { squawk --no-error-on-unmatched-pattern migrations/*.sql; }

# Compiles the queries against a freshly migrated database and compares what that writes with .sqlx/.
offline_data() {
    cargo build --quiet --locked -p jobshop-tests --bins || return
    local fresh
    fresh=$(mktemp -d)
    touch engine/src/lib.rs # or nothing would be compiled, and nothing written
    env -u SQLX_OFFLINE SQLX_OFFLINE_DIR="$fresh" "$out/debug/with-database" \
        cargo check --quiet --locked -p jobshop-engine --all-targets || return
    diff --brief --recursive "$fresh" .sqlx && rm -r "$fresh"
}

scripts/tools.sh shellcheck typos taplo squawk cargo-machete cargo-deny
check "formats of Rust" cargo fmt --all -- --check
check "formats of TOML" env RUST_LOG=error taplo fmt --check
check "shell scripts" shellcheck scripts/*.sh .ci/run
check "spelling" typos
check "migrations" migrations
check "unused dependencies" cargo machete --skip-target-dir
check "licences and sources" cargo deny --log-level error check bans licenses sources
check "lints" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
check "offline data of queries" offline_data

[ ${#failed[@]} = 0 ] || die "failed: $(printf '%s; ' "${failed[@]}")"
say "all good"
