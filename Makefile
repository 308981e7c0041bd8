# make demo: set up and open the page.   make test: set up and pass the tests.
# make space-proof: install what a Space would, and see that the page answers there; minutes.
VENV := .venv
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif

.PHONY: demo test space-proof

demo: $(VENV)/demo
	$(BIN)/python app.py $(if $(MODEL),--model $(MODEL))

test: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/python -m pytest -n 2 --dist loadfile

space-proof: $(VENV)/test
	$(BIN)/python tests/space_page.py

# Each stamp is newer than the requirements it has installed.
$(VENV)/demo: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  $(PYTHON) -m pip install --user -q virtualenv && $(PYTHON) -m virtualenv -q $(VENV); }  # Debian may lack venv
	$(BIN)/pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

$(VENV)/test: requirements-dev.txt $(VENV)/demo
	$(BIN)/pip install --disable-pip-version-check -q -r requirements-dev.txt
	touch $@
