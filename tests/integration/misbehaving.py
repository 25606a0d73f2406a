"""Object types whose methods do what methods must not do; servers load this module."""

import time

from fivefold import Object, Rejected, query, update


class Refusal(Rejected):
    """Raised on purpose."""


class Naughty(Object):
    """Does everything wrong that a method can do."""

    text: str = ""
    calls: int = 0

    @update
    def behave(self) -> int:
        self.calls += 1
        return self.calls

    @update
    def refuse(self) -> None:
        self.calls += 100
        raise Refusal("not today")

    @update
    def interrupt(self) -> None:
        self.calls += 1
        raise KeyboardInterrupt

    @update
    def fail(self) -> int:
        self.calls += 100
        return 1 // 0

    @update
    def loop(self) -> None:
        self.calls += 100
        while True:
            pass

    @update
    def sleep(self, seconds: float) -> None:
        self.calls += 100
        time.sleep(seconds)

    @update
    def grow(self, size: int) -> int:
        self.text = "x" * size
        return size

    @update
    def answer_nonsense(self) -> int:
        self.calls += 100
        return object()  # type: ignore[return-value]

    @update
    def answer_much(self, size: int) -> str:
        self.calls += 100
        return "x" * size

    @update
    def spoil_state(self) -> None:
        self.calls = "many"  # type: ignore[assignment]

    @query
    def fail_to_read(self) -> int:
        return 1 // 0

    @query
    def seen(self) -> tuple[int, int]:
        return self.calls, len(self.text)
