"""Verify a ledger with nothing but its folder: ``python tools/verify_ledger.py FOLDER [--key PEM]... [--index N:SHA]``.

Needs only Python, rfc8785 and cryptography. One line for the index, each chain and each completion report: valid,
unsigned, or broken with the first record that fails. Ends with 0 (all valid), 1 (something broken), 2 (can't be read)
or 3 (something not signed). ``--key`` pins keys, else those of FOLDER/keys count; ``--index`` must be in the index.
"""

import argparse
import json
import re
import sys
from decimal import Decimal
from functools import partial, reduce
from hashlib import sha256
from operator import getitem
from pathlib import Path

import rfc8785
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

parsed = partial(json.loads, parse_int=lambda text: int(text) if abs(int(text)) < 2**53 else float(text))  # RFC 8785


def _need(holds, message):
    if not holds:
        raise ValueError(message)


def _path(body):
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", body["run_id"])[:80]
    run = plain if plain == body["run_id"] else f"{plain}-{sha256(body['run_id'].encode()).hexdigest()[:10]}"
    return f"{body['lever']}/{body['region']}/{body['dag_id']}--{run}"


def _computed(figure, bodies):
    found, by = ([reduce(getitem, figure.get(path) or (), body) for body in bodies] for path in ("at", "by"))
    if (rule := figure["rule"]) == "ratio":
        return f"{sum(map(Decimal, map(str, found))) / sum(map(Decimal, map(str, by))):.9f}"
    return found.count(figure["is"]) if rule == "equal" else {"min": min, "max": max, "value": max}[rule](found)


class Ledger:
    """A folder, the keys to trust, and what heads and index claim of each chain: (number, hash, where it says so)."""

    def __init__(self, root, pinned):
        self.root, self.at, self.entries = root, "", ["0:"]
        self.records, self.claims, self.told, self.states = {}, {}, {}, {}
        keys = [load_pem_public_key(Path(p).read_bytes()) for p in pinned or sorted(root.glob("keys/*.pem"))]
        self.keys = {sha256(k.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]: k for k in keys}
        folders = [p for p in root.glob("*/*/*/") if p.parts[-3] not in {"heads", "safety"} and any(p.glob("[0-9]*"))]
        self.files = {path.relative_to(root).as_posix(): {file.name for file in path.iterdir()} for path in folders}
        self.heads = {p.relative_to(root / "heads").as_posix()[:-5] for p in (root / "heads").rglob("*.json")}
        _need(self.files or self.heads or any(root.glob("index/*.json")), f"{root}: no ledger is there")

    def _signed(self, data):
        body = parsed(data)
        _need(rfc8785.dumps(body) == data, "is not canonical JSON (RFC 8785)")
        _need(body["key"] in self.keys, f"is signed by {body['key']}, not by a known key: {[*self.keys]}")
        text = rfc8785.dumps({name: value for name, value in body.items() if name != "signature"})
        self.keys[body["key"]].verify(bytes.fromhex(body["signature"]), text)
        return body

    def _index(self, known):
        for number, path in enumerate(sorted((self.root / "index").glob("[0-9]*.json")), start=1):
            self.at = f"index/{number:06}.json"
            body = self._signed(data := path.read_bytes())
            follows = f"{body['number'] - 1}:{body['previous']}" == self.entries[-1] and body["kind"] == "index"
            _need(follows, "is missing, or does not follow from the entry before it")
            self.entries.append(f"{number}:{sha256(data).hexdigest()}")
            for head in body["heads"]:
                self.claims.setdefault(head["chain"], []).append((head["number"], head["sha256"], self.at))
        _need(known in self.entries, f"does not hold {known}: the index was cut")
        return "valid" if self.entries[1:] else "unsigned", f"its newest entry is {self.entries[-1]}"

    def _chain(self, chain):
        records, names, signed = self.records.setdefault(chain, [(None, "0" * 64)]), self.files.get(chain, ()), 0
        numbers = [int(name[:6]) for name in names if re.match(r"\d{6}(\.json$|-)", name)]
        for number in range(1, max(numbers, default=0) + 1):
            self.at = f"{chain}/{number:06}.json"
            body = parsed(data := (self.root / self.at).read_bytes())
            _need(_path(body) == chain, "is a record of another chain")
            _need((body["sequence"], body["previous"]) == (number, records[-1][1]), "does not follow the one before")
            _need("signature" in body or not signed, "is not signed, but those before are: it was added")
            signed += "signature" in body and bool(self._signed(data))
            anchored = number > 1 or not signed or body["links"]["index"] in self.entries
            _need(anchored, "links to an entry of the index that is not there: the index was cut")
            records.append((body, sha256(data).hexdigest()))
            if body["step"] == "reported":
                self.told.setdefault(str(body["figures"]["report"]), []).append((body["figures"]["sha256"], chain))
        self.at, claims, count = f"heads/{chain}.json", self.claims.get(chain, []), len(records) - 1
        _need(chain in self.heads or signed < 2, "is missing: nothing proves the chain's end")
        if chain in self.heads:
            head = self._signed((self.root / self.at).read_bytes())
            _need(("head", chain, chain) == (head["kind"], head["chain"], _path(head)), "is the head of another chain")
            claims.append((head["number"], head["sha256"], self.at))
        for number, wanted, told in claims:
            self.at = f"{chain}/{number:06}.json"
            _need(number <= count, f"is missing, but {told} has it: the chain was cut or removed")
            _need(records[number][1] == wanted, f"is not the record that {told} has")
        later = count - max([number for number, _, _ in claims], default=0)
        text = f"{count} records, {signed} of them signed" + f", the newest {later} not in a head yet" * (later > 0)
        return "valid" if signed == count > 0 else "unsigned", text

    def _report(self, name):
        data = (self.root / name).read_bytes()
        _need(used := {c for sha, c in self.told.get(name, ()) if sha == sha256(data).hexdigest()}, "is not on record")
        for figure in (figures := parsed(data)["figures"]):
            used |= {key[:-12] for key, _ in figure["records"]}
            rows = [(self.records[key[:-12]][int(key[-11:-5])], wanted) for key, wanted in figure["records"]]
            _need(all(row[1] == wanted for row, wanted in rows), f"{figure['figure']}: a record of it was changed")
            found = _computed(figure, [body for (body, _), _ in rows])
            _need(found == figure["value"], f"{figure['figure']} is {found} by the records, not {figure['value']}")
        weak = "".join(f", but {chain} is not valid" for chain in sorted(used) if self.states[chain] != "valid")
        return "unsigned" if weak else "valid", f"{len(figures)} figures computed again{weak}"

    def verify(self, known):
        """Print a line for the index, each chain and each report. Returns valid, unsigned or broken of each."""
        print(f"keys: {[*self.keys]}")
        states = [self._say("index", self._index, known)]
        states += [self._say(c, self._chain, c) for c in sorted({*self.files, *self.heads, *self.claims})]
        reports = {*self.told, *(f"reports/{path.name}" for path in (self.root / "reports").glob("*.json"))}
        return states + [self._say(name, self._report, name) for name in sorted(reports)]

    def _say(self, name, look, given):
        self.at = name
        try:
            state, text = look(given)
        except Exception as error:  # noqa: BLE001 - whatever keeps it from being checked, it is not whole
            why = {ValueError: error, FileNotFoundError: "is missing"}.get(type(error), repr(error))
            state, text = "broken", f"{self.at}: {why}"
        print("".join(sign if sign.isprintable() else "?" for sign in f"{state:<8} {name}: {text}"))
        return self.states.setdefault(name, state)


def _main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, more in {"folder": {"type": Path}, "--key": {"action": "append"}, "--index": {"default": "0:"}}.items():
        parser.add_argument(name, **more)
    options = parser.parse_args()
    try:
        states = Ledger(options.folder, options.key).verify(options.index)
    except Exception as error:  # noqa: BLE001 - a folder or a key that can't be used
        print(f"can't be read: {error}")
        return 2
    return 1 if "broken" in states else 3 if "unsigned" in states else 0


if __name__ == "__main__":
    sys.exit(_main())
