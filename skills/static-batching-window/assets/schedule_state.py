        self._waiting: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._max_batch = config.integer("max_batch")
        self._window_s = config.integer("window_ms") / 1000
        self._slots = Slots(model, config)
        self._prefill = Prefill(model, config)
        self._decode = Decode(model, config)
