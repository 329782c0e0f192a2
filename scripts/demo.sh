#!/usr/bin/env bash
# Builds the binary and runs a coding batch on a fresh clone of this repository, which stays for you to look at: with the
# real opencode and a scripted model where opencode is installed, else with the scripted agent.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

cargo build --locked -p jobshop

folder=$(mktemp -d "${TMPDIR:-/tmp}/jobshop-demo.XXXXXX")
clone=$folder/jobshop
git clone --quiet "$root" "$clone"
# Whatever is checked out here, a detached commit included, is the batch's base.
git -C "$clone" checkout --quiet -B main

# The last task of the batch builds the result: it needs to find Rust, and is quicker with what is built already.
export JOBSHOP_PASS_ENV=${JOBSHOP_PASS_ENV:+$JOBSHOP_PASS_ENV,}CARGO_HOME,RUSTUP_HOME,RUSTUP_TOOLCHAIN

opencode=${OPENCODE_BIN:-$(command -v opencode || scripts/fetch-opencode.sh --where)}
if [ -x "$opencode" ]; then
    cargo build --locked -p jobshop-tests --bin model-server
    "$out/debug/model-server" >"$folder/opencode.json" &
    model=$!
    trap 'kill "$model"' EXIT
    until [ -s "$folder/opencode.json" ]; do kill -0 "$model" && sleep 0.1; done
    export OPENCODE_BIN=$opencode JOBSHOP_OPENCODE_CONFIG=$folder/opencode.json

    # What the model does, step by step, stands in the prompts; the agents, their tools and everything else are real.
    play() { printf 'model: [{"bash":"bash $JOBSHOP_FILE_DIR/agents/play/%s"},{"say":"%s"}' "$1" "$2"; }
    say "running workflows/agent-batch.yaml with $("$opencode" --version 2>/dev/null) on $clone"
    "$out/debug/jobshop" run workflows/agent-batch.yaml -i "repo=$clone" -i "target=$out" \
        -i "play_plan=$(play plan.sh 'These are the longest.')]" \
        -i "play_write=$(play 'write.sh draft' 'It is written.'),$(play write.sh 'Now every item is there.' | sed 's/^model: \[//')]" \
        -i "play_review=$(play review.sh 'I looked at all of it.')]"
else
    say "opencode is not installed (make setup-agents): the scripted agent takes its place"
    say "running workflows/coding-batch.yaml on $clone"
    "$out/debug/jobshop" run workflows/coding-batch.yaml -i "repo=$clone" -i "target=$out" -i "journal=$folder/journal"
fi

say "the result is a branch in the clone: git -C $clone log --graph --oneline --branches='jobshop/*'"
