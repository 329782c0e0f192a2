#!/usr/bin/env bash
# Measures this installation through the public path with a release build. Arguments name single benches.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

cargo build --locked --release -p jobshop
[ $# != 0 ] || set -- jobs chain chains fanout latency sessions backlog
for bench in "$@"; do
    say "$bench"
    "$out/release/jobshop" bench "$bench" --limit
done
