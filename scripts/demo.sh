#!/usr/bin/env bash
# Builds the binary and shows what Jobshop is for on a fresh clone of this repository, which stays for you to look at: a
# goal becomes a plan, a plan becomes tasks, agents do them within a budget, ask people, and land a branch that builds.
# With opencode the agents and their tools are real and only the model is scripted; without it (make setup-agents), the
# scripted agent takes its place. DEMO_REPO names another repository to clone.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

started=$SECONDS
jobshop=${DEMO_BIN:-$out/debug/jobshop}
[ -n "${DEMO_BIN:-}" ] || cargo build --locked -p jobshop

folder=$(mktemp -d "${TMPDIR:-/tmp}/jobshop-demo.XXXXXX")
chmod 711 "$folder" # root's Postgres is another user's
clone=$folder/jobshop
git clone --quiet "${DEMO_REPO:-$root}" "$clone"
# Whatever is checked out here, a detached commit included, is where the batch begins.
git -C "$clone" checkout --quiet -B main

if postgres=$(scripts/fetch-postgres.sh --where)/bin && [ -z "${JOBSHOP_PG_BIN:-}" ] && [ -x "$postgres/initdb" ]; then
    export JOBSHOP_PG_BIN=$postgres
fi
opencode=${OPENCODE_BIN-$(command -v opencode || scripts/fetch-opencode.sh --where)}
export JOBSHOP_DATA_DIR=$folder/data
unset JOBSHOP_SERVER JOBSHOP_TOKEN DATABASE_URL
# The last task builds the result: it needs to find Rust, and is quicker with what is built already.
export JOBSHOP_PASS_ENV=${JOBSHOP_PASS_ENV:+$JOBSHOP_PASS_ENV,}CARGO_HOME,RUSTUP_HOME,RUSTUP_TOOLCHAIN

processes=()
finish() {
    local code=$?
    trap - EXIT
    [ $code = 0 ] || { tail -n 20 "$folder"/*.log; say "it did not work out; all of it is in $folder"; } >&2
    for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; done
    wait
    exit $code
}
trap finish EXIT

start() { # NAME COMMAND…: in the background, with a log
    local name=$1
    shift
    "$@" >"$folder/$name.log" 2>&1 &
    processes=($! "${processes[@]}") # the last one is stopped first
}

if [ -n "$opencode" ] && [ -x "$opencode" ]; then
    if [ -z "${DEMO_MODEL:-}" ]; then
        cargo build --locked -p jobshop-tests --bin model-server
        DEMO_MODEL=$out/debug/model-server
    fi
    # The model has agents do what this script says; everything else about them is real.
    # shellcheck disable=SC2016 # the agent's shell knows the folder
    start opencode.json "$DEMO_MODEL" 127.0.0.1:0 'bash "$JOBSHOP_FILE_DIR/agents/play.sh"'
    export OPENCODE_BIN=$opencode JOBSHOP_OPENCODE_CONFIG=$folder/opencode.json.log
    until [ -s "$JOBSHOP_OPENCODE_CONFIG" ]; do sleep 0.1; done
    say "the agents are $("$opencode" --version 2>/dev/null) of opencode, with a scripted model"
else
    export JOBSHOP_AGENT_SCRIPT=$root/workflows/agents/play.yaml
    say "opencode is not installed (make setup-agents): the scripted agent takes its place"
fi

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

show() { # COMMAND…: what a user would type, and what comes of it
    printf '\n$ jobshop %s\n' "$*"
    "$jobshop" "$@"
}

# Waits until a command prints a line that matches, and prints what the pattern's group holds.
await() { # WHAT PATTERN COMMAND…
    local what=$1 pattern=$2 found
    shift 2
    for _ in $(seq 600); do
        found=$("$jobshop" "$@" 2>/dev/null | sed -nE "s/.*$pattern.*/\\1/p" | head -n 1) || true
        [ -z "$found" ] || { echo "$found" && return; }
        case $("$jobshop" session show "$session" --json) in
            *'"status":"failed"'* | *'"status": "failed"'*) break ;;
        esac
        sleep 0.2
    done
    "$jobshop" session why "$session" >&2 || true
    die "$what did not come about"
}

expect() { # PATTERN COMMAND…: shows what a command says, which has to have this in it
    local pattern=$1 said
    shift
    said=$(show "$@")
    printf '%s\n' "$said"
    grep -Eq "$pattern" <<<"$said" || die "\`jobshop $*\` says nothing of: $pattern"
}

step "A server, and two more agents that say what they can do"
start lead env JOBSHOP_WORKER_NAME=lead "$jobshop" up --listen 127.0.0.1:0
for _ in $(seq 300); do [ -s "$JOBSHOP_DATA_DIR/server.json" ] && break || sleep 0.1; done
start ada "$jobshop" worker --name ada --capability code_generation --capability documentation --technology rust
start grace "$jobshop" worker --name grace --capability code_review --type reviewer
session=none
for _ in $(seq 100); do [ "$("$jobshop" agent list | grep -c available)" = 3 ] && break || sleep 0.1; done
expect grace agent list

step "Plan: an agent breaks the goal of workflows/agent-batch.yaml down, and people see the plan"
say "running workflows/agent-batch.yaml on $clone"
start run "$jobshop" run workflows/agent-batch.yaml -i "repo=$clone" -i "target=$out"
for _ in $(seq 100); do
    session=$("$jobshop" session list --json | sed -nE 's/.*"id": ?"[^"]*([^"]{8})".*/\1/p' | tail -n 1)
    [ -z "$session" ] || break
    sleep 0.1
done
inbox='"id": ?"[^"]*([^"]{8})"'
plan=$(await "the plan" "$inbox" inbox --json)
show inbox list
printf '\n$ jobshop inbox show %s\n' "$plan"
"$jobshop" inbox show "$plan" | sed -n '/^id/,$p; /   id | title/,/^ *$/p' | cut -c 1-150

step "Decompose: approved, it is followed, a task for each subtask in a session of its own"
show approve "$plan"
work=$(await "the session of the subtasks" '^ +work: ([0-9a-f]{8}).*' session tree "$session")
await "what waits for the budget" '(page-.*budget)' session tasks "$work" >/dev/null
expect 'page-.* blocked .* budget' session tasks "$work"

step "Route: who should do it, and why"
first=$("$jobshop" session tasks "$work" | sed -nE 's/^ *(page-[a-z-]+).*/\1/p' | head -n 1)
expect '^ada: score' agent match "$work" "$first"

step "Budget: what the agents may take does not fit, so nothing starts before somebody raises it"
await "the pause" '(paused)' session show "$session" --json >/dev/null
expect "waits for the budget" session why "$work" "$first"
show budget show "$session"
expect 400000 budget raise "$session" --tokens 400000

step "Question: one of the agents asks what nobody told it"
question=$(await "the question" "$inbox" inbox --json)
expect "With which page" inbox list
expect "waits for an answer" session why "$work" index

step "Answer: it reaches the agent that waits"
page=$("$jobshop" inbox show "$question" | sed -nE 's/.*\[(workers-[a-z_]+),.*/\1/p')
expect answered inbox answer "$question" "$page"

step "Merge: verified, reviewed by another agent, landed, built"
wait "${processes[0]}" || die "the session did not complete"
show session tasks "$work"
expect 'prove .*completed' session tasks "$session"
printf '\n$ jobshop session logs %s prove\n' "$session"
"$jobshop" session logs "$session" prove | tail -n 6
printf '\n$ jobshop session evidence %s %s\n' "$work" "$first"
"$jobshop" session evidence "$work" "$first" || die "nothing was verified"
show budget show "$session"
expect ada agent list
branch=$(git -C "$clone" for-each-ref --format '%(refname:short)' "refs/heads/jobshop/$session")
[ -n "$branch" ] || die "there is no branch jobshop/$session"
git -C "$clone" show "$branch:docs/components/README.md" | grep -F "[$page]" || die "the answer did not reach the agent"
printf '\n$ git -C %s log --graph --oneline main..%s\n' "$clone" "$branch"
git -C "$clone" log --graph --oneline "main..$branch"

say "done in $((SECONDS - started)) s: the branch $branch in $clone builds"
