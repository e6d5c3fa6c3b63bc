"""A client's guess of the answer, followed along while the answer grows. Knows token ids only, no model.

The guess may drift: a word replaced, a line inserted or left out. After a difference the draft goes on as if one
token had been replaced; if that fails too it falls silent until the newest tokens occur in it again near the place
where it was lost. Whatever it proposes is verified by the caller: a draft can cost time, never change an answer.
"""

from collections.abc import Sequence

FIRST_WINDOW = 4
EVIDENCE = 3
"""So many newest tokens must occur in the draft to take it up again."""
SEARCH_BACK, SEARCH_AHEAD = 16, 64


class Draft:
    def __init__(self, ids: Sequence[int], begun: Sequence[int], max_window: int) -> None:
        """`begun` ends with the answer's first token, which came from the prompt."""
        self._ids = list(ids)
        self._max_window = max_window
        self._window = min(FIRST_WINDOW, max_window)
        self._at = 1 if self._ids[:1] == list(begun[-1:]) else 0
        """Index of the draft's token that should come next."""
        self._in_step = self._at == 1
        self._missed = not self._in_step
        # A useless draft may waste one verification; accepted tokens earn more tries.
        self._credit = 1.0

    def give_up(self) -> None:
        self._credit = 0.0

    def propose(self, newest: Sequence[int], room: int) -> list[int]:
        """What should follow `newest`, at most `room` tokens; empty when there is nothing worth verifying."""
        if self._credit <= 0:
            return []
        if not self._in_step:
            self._search(newest)
        return self._ids[self._at : self._at + min(self._window, room)] if self._in_step else []

    def judge(self, proposed: int, accepted: int, token: int) -> None:
        """`accepted` of `proposed` tokens were right, and then came `token`."""
        self._credit = min(4.0, self._credit + accepted / FIRST_WINDOW) - (accepted == 0)
        self._at += accepted
        if accepted == proposed:
            self._window = min(self._max_window, self._window * 2)
            self._missed = False
            self._in_step = self._ids[self._at : self._at + 1] == [token]
        else:
            self._window = max(FIRST_WINDOW, self._window // 2)
            # A replaced token is likelier than an inserted or missing one, but not twice in a row.
            self._in_step = accepted > 0 or not self._missed
            self._missed = accepted == 0
        self._at += self._in_step

    def _search(self, newest: Sequence[int]) -> None:
        """Take the draft up where the newest tokens occur in it, as near as possible to where it was lost."""
        evidence = list(newest[-EVIDENCE:])
        first = max(EVIDENCE, self._at - SEARCH_BACK)
        places = range(first, min(len(self._ids), self._at + SEARCH_AHEAD + 1))
        found = [place for place in places if self._ids[place - EVIDENCE : place] == evidence]
        if found:
            self._at = min(found, key=lambda place: abs(place - self._at))
            self._in_step, self._missed = True, True
