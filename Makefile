# Each target makes the virtual environment it needs, once; `make clean` removes them.
PYTHON ?= python3
VENV := .venv
RUNTIME := .venv-runtime

.PHONY: demo test check bench wheel clean links

$(RUNTIME)/.ready: pyproject.toml
	$(PYTHON) -m venv $(RUNTIME)
	$(RUNTIME)/bin/pip install --quiet --editable .
	touch $@

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet "torch==2.13.0"
	$(VENV)/bin/pip install --quiet --editable ".[dev,train,export,openvino,dicom,igtl]"
	touch $@

# Type checkers cannot follow an editable install's import hook: they see the rooms through this folder of links.
links:
	@mkdir -p .links/specktrack
	@for room in rt export training tools configs; do ln -sfn ../../$$room .links/specktrack/$$room; done

demo: $(RUNTIME)/.ready  ## the bundled clip through the real daemon, watched live (or, without a display, as a video)
	$(RUNTIME)/bin/python -m specktrack.tools.demo

test: $(VENV)/.ready  ## the whole test suite
	$(VENV)/bin/pytest

check: $(VENV)/.ready links  ## lint and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy -p specktrack.rt -p specktrack.export -p specktrack.tools -p specktrack.training

bench: $(VENV)/.ready  ## speed of every engine and model at hand, then the slow measurements among the tests
	$(VENV)/bin/python -m specktrack.rt.bench
	$(VENV)/bin/pytest -m bench

wheel: $(VENV)/.ready  ## dist/specktrack-*.whl
	$(VENV)/bin/python -m build --wheel --outdir dist .

clean:
	rm -rf $(VENV) $(RUNTIME) .links build dist
