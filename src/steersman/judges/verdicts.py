"""Verdicts on disk, by content: what was judged once is not asked again."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any, Self

from steersman.files.log import Log
from steersman.judges.judge import Exchange, Judge, Verdict

KIND, FORMAT = "verdicts", 1


def address(judge: Judge, exchange: Exchange) -> str:
    """Return a sha256 over everything that a judge's verdict on an exchange depends on."""
    parts = [judge.key(), exchange.prompt, exchange.completion, exchange.concept]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


class Verdicts:
    """A judge's verdicts in one append-only file, which several judges may share one after another.

    Every verdict is on disk before `put` returns. What was left unscored because no answer came (the server was down)
    is written down but asked again; what was left unscored because the answers said nothing usable is not.

    Args:
        path: the file; `None` keeps verdicts for the life of this object.
        judge: whose verdicts are read and written.

    Raises:
        FileError: for a file that another process has open, or that is none of verdicts.
    """

    def __init__(self, path: Path | None, judge: Judge) -> None:
        self._judge = judge
        # Without the judge's name, so that another name for the same judge finds them.
        self._suffix = f"_by_{judge.name}"
        self._names = {metric.name.removesuffix(self._suffix) for metric in judge.metrics}
        self._log = None if path is None else Log(path, KIND, FORMAT)
        self._lock = threading.Lock()
        self._open = True
        self._known: dict[str, Verdict] = {}
        for record in self._log.records if self._log else ():
            self._learn(record or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open = False
            if self._log:
                self._log.close()

    def get(self, exchange: Exchange) -> Verdict | None:
        """Return the verdict on an exchange, where there is one."""
        return self._known.get(address(self._judge, exchange))

    def put(self, exchange: Exchange, verdict: Verdict, *, lasting: bool = True, **more: Any) -> Verdict:
        """Return the verdict, written down; not written once this is closed, when a straggler's answer comes too late.

        Args:
            exchange: what was judged.
            verdict: what came of it.
            lasting: whether it would come out the same if it were asked again.
            more: plain data kept beside it, such as the answer's text.
        """
        record: dict[str, Any] = {
            "key": address(self._judge, exchange),
            "judge": self._judge.name,
            "values": {name.removesuffix(self._suffix): value for name, value in verdict.values.items()},
            "reason": verdict.reason,
            "words": verdict.words,
            "lasting": lasting,
        }
        with self._lock:
            if self._open:
                if self._log:
                    self._log.append(record | more, note=False)
                self._learn(record)
        return verdict

    def _learn(self, record: dict[str, Any]) -> None:
        values, reason, key = record.get("values"), record.get("reason"), record.get("key")
        if not (
            isinstance(values, dict) and isinstance(reason, str) and isinstance(key, str) and record.get("lasting")
        ):
            return
        if not reason and (set(values) != self._names or not all(type(v) in (int, float) for v in values.values())):
            return  # another judge's
        given = {f"{name}{self._suffix}": float(value) for name, value in values.items()}
        self._known[key] = Verdict(given, reason, str(record.get("words", "")))
