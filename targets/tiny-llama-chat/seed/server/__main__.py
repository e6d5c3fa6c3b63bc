"""Start the server: settings, then numerics, then the model, the engine and at last HTTP.

/health first answers when everything is warm, because the socket is opened last.
"""

import os
import signal
import sys

from server.config import Config, ConfigError


def prepare_environment(config: Config) -> None:
    """Runs before torch is imported: its thread pool reads the environment only once."""
    # region: launch.env
    os.environ["OMP_NUM_THREADS"] = str(config.integer("threads"))
    # endregion: launch.env


def open_model(config: Config):
    # region: launch.model
    from server.model import Model

    return Model(config)
    # endregion: launch.model


def main() -> int:
    # A server that is still loading must obey SIGTERM too; the HTTP front end installs its own handler later.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        config = Config.load()
        prepare_environment(config)

        from server.engine import Engine
        from server.tokens import Tokens

        # region: launch.http
        from server.api import serve
        # endregion: launch.http

        model = open_model(config)
        engine = Engine(model, config)
        tokens = Tokens(config.model_dir)
        config.refuse_unread()
    except ConfigError as error:
        print(f"server: {error}", file=sys.stderr)
        return 2
    engine.start()
    serve(config, engine, tokens)
    # The engine thread may be in the middle of a long forward pass, whose result nobody waits for any more.
    os._exit(0)


sys.exit(main())
