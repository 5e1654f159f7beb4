# forebay. `make help` lists the targets. CI calls these very targets.
SHELL := /bin/bash
PY    := .venv/bin/python
STAMP := .venv/.installed
LOAD  ?=
AGAINST ?=
TRACE ?=
TRACES ?=
CELLS ?=
COMPILED := build/compiled/.built
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[36m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements-dev.lock pyproject.toml
	@echo "installing the Python tools into .venv"
	@python3 -m venv .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

venv: $(STAMP) ## Make the virtual environment

lock: $(STAMP) ## Resolve the dependencies anew (needs uv)
	@e2e/lock.sh

crds: $(STAMP) ## Generate crds/ and the chart's copy from the types
	$(PY) -m forebay.resources.crd

docs: $(STAMP) ## Generate the pages that are made from code
	$(PY) -m tests.router.faults > docs/faults.md
	$(PY) -m forebay.reference

krew: $(STAMP) ## The archive that krew installs, for this platform and Python
	plugins/krew/build.sh

options: $(STAMP) ## Generate the chart's part of the options (environment, schema) from the table
	$(PY) -m charts.options

dashboards: $(STAMP) ## Generate the chart's Grafana dashboards
	$(PY) -m charts.dashboards

fmt: $(STAMP) ## Format the code
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix --quiet .

lint: $(STAMP) ## Style, imports, layers
	.venv/bin/ruff format --check --quiet .
	.venv/bin/ruff check --quiet .
	.venv/bin/lint-imports --no-logo > .venv/lint-imports.log || { cat .venv/lint-imports.log; exit 1; }

types: $(STAMP) ## Strict types
	.venv/bin/mypy

tools: $(STAMP) ## Build Kubernetes' binary and fetch helm, cached (no root)
	$(PY) -m e2e.cluster install --no-system

oldest: $(STAMP) ## Build the control plane of the oldest Kubernetes that the chart allows, cached (no root)
	$(PY) -m e2e.cluster oldest

linters: $(STAMP) ## Fetch kubeconform, kube-score and checkov, cached (no root)
	$(PY) -m testing.linters.install

linters-lock: ## Resolve anew what checkov needs
	testing/linters/lock.sh

contract-matrix: tools oldest ## API-server contract: oldest and newest Kubernetes, admission as usual and as OpenShift's
	@for version in newest oldest; do for admission in default openshift; do \
		echo "contract: Kubernetes $$version, admission $$admission"; \
		FOREBAY_KUBERNETES=$$version FOREBAY_ADMISSION=$$admission timeout 1200 .venv/bin/pytest tests/contract -n 2 -q || exit 1; \
	done; done

test: lint types tools linters ## Lint, types, unit, property, API-server contract, chart; no root
	timeout 2400 .venv/bin/pytest tests -n 2 --durations=10

test-engine: $(STAMP) ## One contract against two engines: the simulator, and a real vLLM (make engine); RECORD=1 writes down what that answers
	export FOREBAY_TEST_ENGINE=newest $(if $(RECORD),FOREBAY_RECORD=1); \
	timeout 1500 .venv/bin/pytest tests/engine -o faulthandler_timeout=900 --durations=10 || \
		{ echo "trying once more what failed"; timeout 600 .venv/bin/pytest tests/engine --last-failed \
		--last-failed-no-failures none -o faulthandler_timeout=900; }

test-engine-oldest: $(STAMP) ## The same with the oldest vLLM that is supported (make engine-oldest)
	FOREBAY_TEST_ENGINE=oldest timeout 2400 .venv/bin/pytest tests/engine -o faulthandler_timeout=900 --durations=10

$(COMPILED): setup.py pyproject.toml $(shell find operator/forebay -name '*.py') $(STAMP)
	@echo "compiling the request path (about a minute)"
	@rm -rf build/compiled && mkdir -p build/compiled
	@FOREBAY_COMPILE=1 $(PY) setup.py -q build --build-lib build/compiled --build-temp build/temp \
		> build/compile.log 2>&1 || { cat build/compile.log; exit 1; }
	@touch $@

compiled: $(COMPILED) ## A copy with the request path compiled, as in the image: PYTHONPATH=build/compiled takes it

test-compiled: $(COMPILED) ## The tests of router and rules over the compiled request path
	PYTHONPATH=build/compiled $(PY) -c "import forebay.router.gateway as it; assert it.__file__.endswith('.so'), it.__file__"
	PYTHONPATH=build/compiled timeout 600 .venv/bin/pytest tests/router tests/rules -n 2 -o pythonpath="build/compiled ."

# Three processes on two cores: tests of routers wait as long as they compute. Bytecode of the tests is kept: it is 10 s a process.
unit: export PYTHONDONTWRITEBYTECODE :=
unit: $(STAMP) ## The quick tests alone, properties with few examples: under a minute
	timeout 600 .venv/bin/pytest tests -m "not apiserver and not slow" --hypothesis-profile=quick \
		-n 3 --dist worksteal --durations=10

cluster-install: $(STAMP) ## Everything a local cluster needs (root)
	$(PY) -m e2e.cluster install

cluster-up: cluster-install ## A real Kubernetes with two nodes on this machine (root)
	$(PY) -m e2e.cluster up

cluster-down: $(STAMP) ## End the cluster; leaves nothing behind but its state folder
	$(PY) -m e2e.cluster down

cluster-purge: $(STAMP) ## End the cluster and forget its state
	$(PY) -m e2e.cluster purge

demo: cluster-install ## The whole story on a real cluster; LOAD=trace.csv replays a trace; ENGINE=vllm is a story of its own (make engine)
	$(PY) -m $(if $(filter vllm,$(ENGINE)),e2e.demo.engine,e2e.demo $(if $(LOAD),--load $(LOAD)))

e2e: cluster-install ## Scenarios on the real cluster (root)
	timeout 3000 .venv/bin/pytest e2e/scenarios -s -o faulthandler_timeout=900 --durations=0 || \
		{ echo "trying once more what failed"; timeout 1200 .venv/bin/pytest e2e/scenarios -s --last-failed \
		--last-failed-no-failures none -o faulthandler_timeout=900; }

e2e-long: cluster-install ## Drain, failure, outage and budget at full length on the real cluster, most of two hours (root)
	FOREBAY_E2E=long timeout 9000 .venv/bin/pytest e2e/scenarios/test_1[0-9]_*.py e2e/scenarios/test_26_budget.py -s -o faulthandler_timeout=1800 --durations=0

engine: $(STAMP) ## Install a real vLLM, the newest that is supported, for CPUs; cached outside the repo (6 GB, no root)
	$(PY) -m testing.engine.install newest

engine-oldest: $(STAMP) ## The same with the oldest
	$(PY) -m testing.engine.install oldest

engine-lock: ## Resolve anew what these need
	testing/engine/lock.sh

e2e-engine: cluster-install ## A pool of a real vLLM on the real cluster comes up and answers (root, after make engine)
	FOREBAY_E2E=engine timeout 3600 .venv/bin/pytest e2e/scenarios/test_50_engine.py -s -o faulthandler_timeout=1800 --durations=0

bench-router: $(COMPILED) ## What a router costs: forebay beside Envoy, vllm-router, sglang-router, LiteLLM; AGAINST=tree adds another checkout
	$(PY) -m bench.router $(if $(AGAINST),--against $(AGAINST))

soak: $(STAMP) ## A million requests with faults and clients that leave; then nothing may be left behind
	$(PY) -m bench.soak

soak-quick: $(STAMP) ## The same with twenty thousand, in a minute
	timeout 240 $(PY) -m bench.soak --requests 20000 --steps 1 --minutes 3

overload: $(STAMP) ## Ten times the capacity for five minutes: High as fast as ever, the others told when to come back
	$(PY) -m bench.overload

overload-quick: $(STAMP) ## The same for twenty seconds
	timeout 240 $(PY) -m bench.overload --seconds 20

poison: $(STAMP) ## One client's requests that no engine survives, beside good ones; really broken replicas, too (ten minutes)
	$(PY) -m bench.poison $(if $(CELLS),--cells "$(CELLS)")

fuzz: $(STAMP) ## Half an hour of coverage-guided fuzzing of all that reads bytes from strangers
	$(PY) -m bench.fuzz --seconds 1800

fuzz-quick: $(STAMP) ## The same for a minute
	timeout 600 $(PY) -m bench.fuzz --seconds 60

bench-many: $(STAMP) ## What 100, 300 and 1,000 pools with ten pods each cost the operator, on a real API server (half an hour)
	nice -n 10 $(PY) -m bench.many

bench-queue: $(STAMP) ## How long a slot stands idle while somebody waits, and in which order waiters are served
	$(PY) -m bench.queue

bench-affinity: $(STAMP) ## Time to the first token and cache hits by placement; TRACE=file plays recorded conversations
	$(PY) -m bench.affinity $(if $(TRACE),--trace $(TRACE))

bench-budget: $(STAMP) ## What a budget overspends and leaves unspent when things break, beside other ways; SEEDS=1000
	nice -n 10 $(PY) -m bench.budget $(if $(SEEDS),--seeds $(SEEDS))

bench-replay: $(STAMP) ## How far a replay can be believed: against the real router, and between its two engines; TRACE=file
	nice -n 10 $(PY) -m bench.replay $(if $(TRACE),--trace $(TRACE))

bench-calibrate: $(STAMP) ## How far the simulated engine is from recorded runs of vLLM; TRACES=folder has them
	$(PY) -m bench.calibrate "$(TRACES)"

bench-scaling: $(STAMP) ## GPU-hours, overflow and money of forebay's rule beside six other scalers; TRACES=folder adds recorded ones
	nice -n 10 $(PY) -m bench.scaling $(if $(TRACES),--traces $(TRACES))

bench-classify: $(STAMP) ## Judge the learned classifier; DATA=requests.jsonl, TRAIN=1 writes new weights
	nice -n 19 $(PY) -m bench.classify "$(DATA)" $(if $(TRAIN),--train)

bench-profile: $(STAMP) ## kubectl forebay profile on a million lines whose truth is known: time, memory, how far off
	nice -n 19 $(PY) -m bench.profile

clean: ## Remove build products (not the caches outside the repo)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build demo-summary.json bench-*.json bench-*.svg

.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.*\#\# .*/\1/p' $(MAKEFILE_LIST))
