.PHONY: format lint type test slow check

format:  ## rewrite files in the project's style
	ruff format .
	ruff check --fix .

lint:  ## style, dead code, docstrings, layers
	ruff format --check .
	ruff check .
	lint-imports

type:  ## static types
	mypy

test:  ## the default tests, a few minutes
	pytest

slow:  ## the tests that take minutes each
	pytest -m slow

check: lint type test slow
