"""Who does what in a round: each role asks an agent, and turns its answer into something the engine has checked."""
