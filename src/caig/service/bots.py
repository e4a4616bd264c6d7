"""Who may be no shopper: marks for suspicion, never a refusal. What is marked is kept, and nothing learns from it."""

from __future__ import annotations

import re
import time
from collections import OrderedDict

ROBOT = re.compile(r"bot\b|crawl|spider|headless|phantomjs|selenium|curl/|wget/|python-|scrapy|preview|monitor", re.I)
FASTEST_CLICK = 100  # ms from the decision on: nobody loads, sees and clicks a picture sooner
CLICKS_A_MINUTE = 20  # of one visitor
REMEMBERED = 50_000  # visitors


class Suspicions:
    """Remembers how often each visitor clicked in the last minute."""

    def __init__(self) -> None:
        self._clicks: OrderedDict[str, list[float]] = OrderedDict()

    def robot(self, user_agent: str | None) -> bool:
        """Whether the shopper's browser calls itself a robot, or nothing at all (an empty text)."""
        return user_agent is not None and (not user_agent.strip() or ROBOT.search(user_agent) is not None)

    def click(self, user_agent: str | None, visitor: str | None, after: int) -> bool:
        """Whether a click `after` ms from its decision is suspect."""
        return self.robot(user_agent) or after < FASTEST_CLICK or self._busy(visitor)

    def _busy(self, visitor: str | None) -> bool:
        if visitor is None:
            return False
        now = time.monotonic()
        recent = [at for at in self._clicks.pop(visitor, []) if at > now - 60][-CLICKS_A_MINUTE:] + [now]
        self._clicks[visitor] = recent
        if len(self._clicks) > REMEMBERED:
            self._clicks.popitem(last=False)
        return len(recent) > CLICKS_A_MINUTE
