# Everyday commands. The two commands of README.md need none of this.
VENV := .venv-dev
BIN  := $(VENV)/bin

.PHONY: dev test lint bench pins clean

dev: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,bench]'
	mkdir -p .link && ln -sfn .. .link/quotacast
	touch $@

test: dev
	$(BIN)/pytest $(ARGS)

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p quotacast

bench: dev
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

# The newest versions within the bounds of pyproject.toml, to be looked at and put into constraints.txt.
pins:
	python3 -m venv .venv-pins
	.venv-pins/bin/pip install -q '.[dev,bench]'
	.venv-pins/bin/pip freeze --all | grep -v -i -e '^pip==' -e '^quotacast'

clean:
	rm -rf build dist *.egg-info .link .venv .venv-ci .venv-dev .venv-peers .venv-pins .venv-test \
	    .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
