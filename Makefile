# Everything a user or a developer runs. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: $(shell sed -nE 's/^([a-z-]+):.*/\1/p' Makefile)
PYTHON ?= python3
BIN := .venv/bin
ANSIBLE_BIN := .venv-ansible/bin
# Compiled modules make every start ten seconds faster; some environments turn them off.
export PYTHONDONTWRITEBYTECODE :=

help: ## list the commands
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

up: install ## install, prepare the model, start everything, print the addresses and a key (PORT, SITE_PORT, HOST, APPLIANCE_HOME, CHAT=1)
	@exec $(BIN)/appliance up

join: install ## run this machine as a further node of a system (FIRST=10.0.0.1:6379, with DATABASE_URL)
	@exec $(BIN)/appliance join $(FIRST)

test: install-dev ## run all tests, with the real engine too (ARGS='tests/billing -k hold' for some)
	@$(BIN)/python -m tests.lanes $(ARGS)

test-nodes: install-dev ## lose one of three nodes under load, on this machine (five minutes, not part of `make test`)
	@$(BIN)/python -m pytest -m nodes tests/scenarios

test-postgres: install-dev ## the tests of the money on the oldest PostgreSQL that it runs on (apt install postgresql-15; POSTGRES=its programs)
	@TEST_POSTGRES=$(or $(POSTGRES),/usr/lib/postgresql/15/bin) $(BIN)/python -m pytest tests/billing tests/plans tests/documents tests/payments $(ARGS)

test-hosts: install-dev install-ansible ## Ansible on fresh hosts, as root (apt install debootstrap systemd-container; SYSTEM=ubuntu-24.04 for another than Debian 12)
	@APPLIANCE_TEST_SYSTEM=$(SYSTEM) $(BIN)/python -m tests.hosts $(ARGS)

test-browser: install-dev ## the site in a real Chromium, over the whole system (apt install chromium; not part of `make test`)
	@$(BIN)/python -m pytest -m browser tests/browser

stripe-check: install-dev ## what `make test` asks of the sandbox, of your test account at Stripe (STRIPE_TEST_KEY=sk_test_…)
	@$(BIN)/python -m tests.stripe_account $(ARGS)

chat-check: install-dev ## the real LibreChat in a real Chromium, write docs/librechat.md (LIBRECHAT_SOURCE=/srv/librechat)
	@$(BIN)/python -m tests.chat_check

screenshots: install-dev ## every page, phone and desktop, by day and by night, into var/screenshots (ARGS=/dashboard)
	@$(BIN)/python -m tests.browser.screenshots $(ARGS)

dashboards: install-dev ## draw Grafana's dashboards anew from tests/monitoring/dashboards into configs/grafana
	@$(BIN)/python -m tests.monitoring.dashboards

lint: install-dev ## check style, types, the arrows between the packages, and what the documentation names
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/appliance/test_docs.py tests/appliance/test_promises.py tests/appliance/test_texts.py tests/appliance/test_security.py
	$(BIN)/lint-imports

lint-ansible: install-ansible ## check the roles and playbooks below ansible/
	@PATH="$(CURDIR)/$(ANSIBLE_BIN):$$PATH" $(ANSIBLE_BIN)/ansible-lint ansible

format: install-dev ## format the code and put right what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install-dev ## the documentation as a site, into var/docs
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env -c docs -d var/docs-pages . var/docs
	@echo "docs     var/docs/index.html"

bench: install-dev ## measure, write var/bench.json (ARGS=settlement for one of the benchmarks)
	@$(BIN)/python -m tests.bench $(ARGS)

clients: install-dev ## run other people's clients and test suites against the system (ARGS=langchain for some)
	@$(BIN)/python -m tests.clients $(ARGS)

fresh: install-dev ## fresh clones, `make up` and the README's example in each of them (ARGS='AVX2 user')
	@$(BIN)/python -m tests.fresh $(ARGS)

everything: install-dev ## run every command that checks something, write docs/quality.md (ARGS='clients test-nodes')
	@$(BIN)/python -m tests.everything $(ARGS)

gpu-check: install-dev ## measure the system on this machine's NVIDIA GPU, write var/gpu.json
	@$(BIN)/python -m tests.gpu $(ARGS)

soak: install-dev ## drive the ledger's decisions against a plain model (SECONDS=600 SEED=7)
	@$(BIN)/python -m tests.simulation $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

lock: install-dev ## refresh the exact versions in requirements/ (ARGS='--upgrade-package ray')
	@scripts/lock.sh $(abspath $(BIN)/uv) $(ARGS)

licences: install-dev ## whether every locked package may be used (ARGS=--update after `make lock`)
	@$(BIN)/python -m scripts.release.licences $(ARGS)

release: install-dev ## build the version in pyproject.toml, with checksums and a bill of materials, into var/releases
	@$(BIN)/python -m scripts.release

install:
	@$(PYTHON) scripts/install.py

install-dev:
	@$(PYTHON) scripts/install.py --dev

install-ansible: ## Ansible on the machine from which you set up your servers, into .venv-ansible (docs/installation.md)
	@cmp -s requirements/ansible.txt .venv-ansible/installed || { $(PYTHON) -m venv --clear .venv-ansible && \
		$(ANSIBLE_BIN)/pip install --quiet --require-hashes -r requirements/ansible.txt && \
		cp requirements/ansible.txt .venv-ansible/installed; }
