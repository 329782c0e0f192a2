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

scripts/tools.sh shellcheck typos taplo squawk cargo-machete cargo-deny
check "formats of Rust" cargo fmt --all -- --check
check "formats of TOML" env RUST_LOG=error taplo fmt --check
check "shell scripts" shellcheck scripts/*.sh .ci/run
check "spelling" typos
check "migrations" migrations
check "unused dependencies" cargo machete --skip-target-dir
check "licences and sources" cargo deny --log-level error check bans licenses sources
check "lints" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

[ ${#failed[@]} = 0 ] || die "failed: $(printf '%s; ' "${failed[@]}")"
say "all good"
