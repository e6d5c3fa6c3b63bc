"""The gate's one-word reasons as people say them; any other text stays as it is."""

from __future__ import annotations

WORDS = {
    "screen": "clearly worse at the first look",
    "leap": "so much better that few blocks were enough",
    "bound": "its interval stays above the least gain that counts",
    "futile": "it cannot reach the least gain that counts any more",
    "hopeless": "more blocks would not decide it",
    "last_look": "not decided by the last look",
    "void_windows": "most of its windows were void",
    "environment": "the machine was too busy to measure",
    "wall_cap": "the time for one measurement ran out",
    "roofline": "faster than this device can be",
    "crash": "the server crashed while it was measured",
    "noise_run": "the same server twice, to know how far measurements differ",
    "guard": "another figure got worse than is tolerated",
}


def in_words(reason: str) -> str:
    """`leap`, `guard:peak_rss_mib` or `environment: load 3.1` with the code put into words."""
    code, _, rest = reason.partition(":")
    if code not in WORDS:
        return reason
    return f"{WORDS[code]}: {rest.strip()}" if rest else WORDS[code]
