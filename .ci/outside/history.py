"""The history checker: what was said to publishers against what is stored in the end.

Every message is `CLIENT.BATCH.INDEX.COUNT.RANDOM.PADDING.CRC`, unique, and derived from its batch's
seed, so a lost, doubled, mixed-up, invented or damaged one is recognised. Outcomes of a batch:
`ok` (answered, with ids), `unknown` (no answer, or 503), `refused` (a definite no). O(n).
"""

import hashlib
import zlib
from dataclasses import dataclass, field

OK, UNKNOWN, REFUSED = "ok", "unknown", "refused"


@dataclass
class Batch:
    """One publish call."""

    client: int
    number: int
    count: int
    outcome: str = UNKNOWN
    ids: list[int] = field(default_factory=list)

    def text(self, index: int) -> str:
        """The message at `index`. Most are short, some have a padding of kilobytes."""
        name = f"{self.client}.{self.number}.{index}.{self.count}"
        random = hashlib.blake2b(name.encode(), digest_size=8, key=b"ams storm").hexdigest()
        padding = "x" * (int(random[:4], 16) % 4096 if random[4] == "0" else int(random[:2], 16) % 64)
        body = f"{name}.{random}.{padding}"
        return f"{body}.{zlib.crc32(body.encode()):08x}"


def parse(text: str) -> tuple[int, int, int] | None:
    """(client, batch, index) of an undamaged message."""
    body, _, crc = text.rpartition(".")
    if f"{zlib.crc32(body.encode()):08x}" != crc:
        return None
    try:
        client, number, index = body.split(".")[:3]
        return int(client), int(number), int(index)
    except ValueError:
        return None


KINDS = ("lost", "duplicated", "invented", "torn", "moved", "gaps")


def check(batches: list[Batch], stored: list[tuple[int, str]]) -> dict[str, list[str]]:
    """Violations by kind; `stored` is the final read, (offset, text) in the order of delivery.

    lost        an acknowledged message is nowhere
    duplicated  one message at two offsets, or one offset twice
    invented    nobody sent it so, or its sender was told no
    torn        a part of a batch without the rest, or not side by side in order
    moved       stored at another offset than the publisher was told
    gaps        offsets do not run 0, 1, 2, ...
    """
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    known = {(batch.client, batch.number): batch for batch in batches}
    places: dict[tuple[int, int], dict[int, int]] = {}
    offsets: set[int] = set()
    for turn, (offset, text) in enumerate(stored):
        if offset in offsets:
            found["duplicated"].append(f"offset {offset} twice")
        offsets.add(offset)
        if offset != turn:
            found["gaps"].append(f"offset {offset} at position {turn}")
        name = parse(text)
        batch = known.get(name[:2]) if name else None
        if name is None or batch is None or name[2] >= batch.count or batch.text(name[2]) != text:
            found["invented"].append(f"offset {offset}: {text[:60]!r}")
            continue
        if batch.outcome == REFUSED:
            found["invented"].append(f"offset {offset}: of the refused batch {name[:2]}")
        indices = places.setdefault(name[:2], {})
        if name[2] in indices:
            found["duplicated"].append(f"{name} at {indices[name[2]]} and {offset}")
        indices.setdefault(name[2], offset)
    for key, batch in known.items():
        indices = places.get(key, {})
        missing = batch.count - len(indices)
        if batch.outcome == OK and missing:
            found["lost"].append(f"{missing} messages of {key}, told {batch.ids[:3]}")
        if indices and missing:
            found["torn"].append(f"{missing} of {batch.count} messages of {key} are missing")
        elif indices and any(indices[i] != indices[0] + i for i in range(batch.count)):
            found["torn"].append(f"{key} is not side by side")
        if batch.outcome == OK:
            if len(batch.ids) != batch.count:
                found["moved"].append(f"{key} was told {len(batch.ids)} ids for {batch.count}")
            wrong = [i for i, told in enumerate(batch.ids) if i in indices and indices[i] != told]
            if wrong:
                i = wrong[0]
                found["moved"].append(f"{key}[{i}] told {batch.ids[i]}, stored at {indices[i]}")
    return found


def self_test() -> int:
    """The checker must flag every planted fault, and nothing in lawful histories. Returns how many
    histories were judged."""

    def history() -> tuple[list[Batch], list[tuple[int, str]]]:
        batches = [Batch(1, 0, 3, OK, [0, 1, 2]), Batch(2, 0, 2, UNKNOWN), Batch(1, 1, 1, OK, [5]),
                   Batch(2, 1, 4, UNKNOWN), Batch(3, 0, 2, REFUSED), Batch(3, 1, 3, OK, [6, 7, 8])]
        texts = [b.text(i) for b in (batches[0], batches[1], batches[2], batches[5]) for i in range(b.count)]
        return batches, list(enumerate(texts))

    def renumbered(texts: list[str]) -> list[tuple[int, str]]:
        return list(enumerate(texts))

    cases: list[tuple[str, set[str], object]] = [
        ("as it was", set(), lambda b, s: (b, s)),
        ("an unknown batch is absent", set(),
         lambda b, s: ([*b[:2], Batch(1, 1, 1, OK, [3]), *b[3:5], Batch(3, 1, 3, OK, [4, 5, 6])],
                       renumbered([t for o, t in s if o not in (3, 4)]))),
        ("an acknowledged message is lost", {"lost", "torn", "gaps"}, lambda b, s: (b, s[:1] + s[2:])),
        ("an acknowledged batch is lost at the end", {"lost"}, lambda b, s: (b, s[:6])),
        ("half of an unknown batch", {"torn", "gaps"}, lambda b, s: (b, s[:3] + s[4:])),
        ("a message twice", {"duplicated"}, lambda b, s: (b, [*s, (len(s), s[0][1])])),
        ("an offset twice", {"duplicated", "gaps", "torn"}, lambda b, s: (b, [*s[:4], (3, s[4][1]), *s[5:]])),
        ("a damaged message", {"invented", "lost", "torn"},
         lambda b, s: (b, [(0, s[0][1].replace("1.0.0", "1.0.9", 1)), *s[1:]])),
        ("a forged message", {"invented"}, lambda b, s: (b, [*s, (len(s), Batch(9, 9, 1).text(0))])),
        ("a message of a refused batch", {"invented", "torn"},
         lambda b, s: (b, [*s, (len(s), b[4].text(0))])),
        ("two batches interleaved", {"torn", "moved"},
         lambda b, s: (b, renumbered([s[i][1] for i in (0, 1, 3, 2, 4, 5, 6, 7, 8)]))),
        ("told another offset", {"moved"},
         lambda b, s: ([*b[:2], Batch(1, 1, 1, OK, [4]), *b[3:]], s)),
        ("told too few offsets", {"moved"},
         lambda b, s: ([*b[:5], Batch(3, 1, 3, OK, [6, 7])], s)),
        ("an offset is skipped", {"gaps", "moved"},
         lambda b, s: (b, s[:6] + [(o + 1, t) for o, t in s[6:]])),
    ]
    for name, wanted, mutate in cases:
        batches, stored = mutate(*history())
        got = {kind for kind, items in check(batches, stored).items() if items}
        if got != wanted:
            raise AssertionError(f"{name}: flagged {sorted(got)}, wanted {sorted(wanted)}")
    return len(cases)


if __name__ == "__main__":
    print(f"{self_test()} histories judged as they should be")
