    from server import native

    return native.open_model(config)
