        self._waiting: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._slots = Slots(model, config)
        self._prefill = Prefill(model, config)
        self._decode = Decode(model, config)
