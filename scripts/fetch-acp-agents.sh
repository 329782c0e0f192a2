#!/usr/bin/env bash
# Installs the pinned claude-agent-acp and codex-acp, which speak the Agent Client Protocol, into the data
# directory. `--where` only prints the folder of their programs. It knows nothing of keys and logins.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

# As `jobshop` itself decides (docs/operations.md).
if [ "$(id -u)" = 0 ]; then
    default_data=/var/lib/jobshop mode=711
else
    default_data=${XDG_DATA_HOME:-$HOME/.local/share}/jobshop mode=700
fi
data=${JOBSHOP_DATA_DIR:-$default_data}
pins=$root/scripts/acp-agents
# Other pins are another folder.
folder=$data/agents/acp-$(sha256sum "$pins/package-lock.json" | cut -c 1-12)
programs=(claude-agent-acp codex-acp)

if [ "${1:-}" = --where ]; then
    echo "$data/agents/bin"
    exit
fi

if [ ! -d "$folder" ]; then
    if ! have node || ! have npm; then
        die "Node is missing to fetch the agents. Install Node 20 or later."
    fi
    say "fetching ${programs[*]} into $folder"
    [ -d "$data" ] || install -d -m "$mode" "$data"
    mkdir -p "$data/agents/bin"
    work=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    cp "$pins/package.json" "$pins/package-lock.json" "$work"
    # Their programs come as packages; nothing has to be executed to install them.
    (cd "$work" && npm ci --silent --ignore-scripts --no-audit --no-fund)
    for program in "${programs[@]}"; do
        [ -x "$work/node_modules/.bin/$program" ] || die "$program is not among what was fetched"
    done
    chmod 755 "$work"
    mv -T "$work" "$folder" 2>/dev/null || [ -d "$folder" ] # somebody was faster
fi
for program in "${programs[@]}"; do
    ln -sfn "../$(basename "$folder")/node_modules/.bin/$program" "$data/agents/bin/$program"
done
