#!/usr/bin/env bash
# What the scripted model has the second agent do for the task `review` of agent-batch.yaml.
set -euo pipefail

git diff --stat "$BASE" HEAD
changed=$(git diff --name-only "$BASE" HEAD | sort | paste -sd ' ')
if [ "$changed" = "$(printf '%s\n' "docs/components/$NAME.md" "$FILE" | sort | paste -sd ' ')" ]; then
    printf '{"approved": true, "remarks": "%s are right"}\n' "$changed" > "$JOBSHOP_OUTPUT"
else
    printf '{"approved": false, "remarks": "it changes %s"}\n' "$changed" > "$JOBSHOP_OUTPUT"
fi
cat "$JOBSHOP_OUTPUT"
