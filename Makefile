# make demo: set up and open the page.   make test: set up and pass the tests.
# make space-proof: install what a Space would, and see that the page answers there; minutes.
PYTHON ?= python3
VENV := .venv

.PHONY: demo test space-proof

demo: $(VENV)/demo
	$(VENV)/bin/python app.py $(if $(MODEL),--model $(MODEL))

test: $(VENV)/test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest

space-proof: $(VENV)/test
	$(VENV)/bin/python tests/space_page.py

# Each stamp is newer than the requirements it has installed.
$(VENV)/demo: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  $(PYTHON) -m pip install --user -q virtualenv && $(PYTHON) -m virtualenv -q $(VENV); }  # Debian may lack venv
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

$(VENV)/test: requirements-dev.txt $(VENV)/demo
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements-dev.txt
	touch $@
