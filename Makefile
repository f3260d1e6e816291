# The same words for those who type make. `make test ARGS="-k launcher"` passes more words on.
COMMANDS := pipeline validate train evaluate compare report gate check register build serve \
	monitor retrain status loop test lock

.DEFAULT_GOAL := help
.PHONY: help $(COMMANDS)

help:
	@./mainline --help

$(COMMANDS):
	@./mainline $@ $(ARGS)
