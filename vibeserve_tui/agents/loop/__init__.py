"""The loop behind language models: turns over three wires, tools, retries, room and money; one explicit end."""
