# Every way to build, check and run Jobshop. `make` alone lists them; the work stands in scripts/.

.DEFAULT_GOAL := help
.PHONY: help setup setup-agents setup-acp-agents demo up test check bench chaos

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what this machine lacks (quick when nothing is missing)
	@scripts/setup.sh

setup-agents: ## Install the coding agent opencode, which tests use too (185 MB)
	@scripts/fetch-opencode.sh

setup-acp-agents: ## Install claude-agent-acp and codex-acp, which tests use too (512 MB)
	@scripts/fetch-acp-agents.sh

demo: setup ## Run a coding batch on a fresh clone of this repository
	@scripts/demo.sh

up: setup ## Start everything in one process on an embedded Postgres
	@scripts/up.sh

test: setup ## Build everything and run every test
	@scripts/test.sh

check: setup ## Formats, lints, licences, spelling, migrations, offline SQL data
	@scripts/check.sh

bench: setup ## Measure this installation through the public path (release build)
	@scripts/bench.sh

chaos: setup ## Kill, freeze and cut off everything under load, and compare three witnesses (5 minutes)
	@scripts/chaos.sh
