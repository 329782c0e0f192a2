#!/usr/bin/env bash
# What the scripted model has opencode do for the task `plan` of agent-batch.yaml.
set -euo pipefail

files=$(grep -l '^//!' workers/src/*.rs | grep -v '/lib.rs$' | xargs wc -l | grep -v ' total$' |
    sort -rn | sed -n "1,${COUNT}p" | awk '{ print $2 }')
echo "$files"
echo "$files" | awk '{
    name = $1; sub(/.*\//, "", name); sub(/\.rs$/, "", name)
    printf("%s{\"name\":\"workers-%s\",\"file\":\"%s\",\"first\":%s}", NR > 1 ? "," : "{\"components\":[", name, $1,
        NR == 1 ? "true" : "false")
} END { print "]}" }' > "$JOBSHOP_OUTPUT"
