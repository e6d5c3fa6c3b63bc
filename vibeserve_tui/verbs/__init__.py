"""The verbs of the command line, one module each; `configure(parser, verb)` declares, `run(options, verb)` acts."""
