# The same words for those who type make. `make test ARGS="-k launcher"` passes more words on.
COMMANDS := loop test lock doctor status validate train evaluate report gate check monitor

.DEFAULT_GOAL := help
.PHONY: help $(COMMANDS)

help:
	@./mainline --help

$(COMMANDS):
	@./mainline $@ $(ARGS)
