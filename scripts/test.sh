#!/usr/bin/env bash
# Builds everything, the binary included (end-to-end tests start it), and runs every test.
# Arguments go to nextest.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

scripts/tools.sh cargo-nextest
name_fetched_postgres

cargo build --workspace --locked
cargo nextest run --workspace --locked "$@"
