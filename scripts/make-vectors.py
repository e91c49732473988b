#!/usr/bin/python3
"""Makes the test vectors of the store's format: `make-vectors.py FOLDER` writes FOLDER/<kind>.json.

Each vector has a `name` and what is `given`. One that must open says what comes out in `opens`; one that must fail has one
`defect`, made on purpose in something that opens without it, and the `error` it must give. Keys, nonces and salts come from
names, so the files are the same each time; before they are written each vector is opened here too.
"""

import json
import os
import sys

import kmsfs_format as f

STORE, OTHER_STORE = f.sha256(b"store")[:16], f.sha256(b"other store")[:16]
SCOPE, KEY, SECRET = 64, 67, 70
LEAST = (19_456, 1, 1)
NO_COST = (0, 0, 0)
PASS = "päss phrase".encode()


def named(name, length=32):
    """Bytes that stand for random ones."""
    return f.sha256(name.encode())[:length]


MASTER, META, INDEX, CMK, DEK = (named(name) for name in ("master", "meta", "index", "cmk", "dek"))
IDX = named("idx", 16)


def plain_of(length):
    return bytes(at % 251 for at in range(length))


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


class Kind:
    """The vectors of one kind, and how one is opened: `read` takes what is given and answers what comes out."""

    def __init__(self, name, read):
        self.name, self.read, self.vectors = name, read, []

    def opens(self, name, given, opens):
        found = self.read(given)
        assert found == opens, f"{self.name}: {name}: {found}"
        self.vectors.append({"name": name, "given": shown(given), "opens": shown(opens)})

    def fails(self, defect, error, given):
        try:
            found = self.read(given)
        except f.FormatError as raised:
            found = raised.kind
        assert found == error, f"{self.name}: {defect}: {found}"
        self.vectors.append({"name": defect, "given": shown(given), "defect": defect, "error": error})


def shown(members):
    def show(value):
        if isinstance(value, list):
            return [shown(one) for one in value]
        return value.hex() if isinstance(value, bytes) else value

    return {name: show(value) for name, value in members.items()}


def same(found, claimed):
    if found != claimed:
        raise f.FormatError("Differs", "what was computed")
    return {}


# Associated data, indexes, digests: computed, and compared with what is claimed.


def aad_of(given):
    label, at = given["label"], {name: value for name, value in given.items() if name not in ("label", "aad")}
    order = {
        "record": ("store", "id", "scope", "parent", "idx"),
        "value": ("store", "scope", "secret", "version"),
    }.get(label, ("store", "scope", "node", "no", "key", "version"))
    return f.aad(label, *(at[name] for name in order))


def aads():
    kind = Kind("aad", lambda given: same(aad_of(given), given["aad"]))
    record = {"label": "record", "store": STORE, "id": SECRET, "scope": SCOPE, "parent": 69, "idx": IDX}
    value = {"label": "value", "store": STORE, "scope": SCOPE, "secret": SECRET, "version": 0xFFFFFF}
    wrap = {"store": STORE, "scope": SCOPE, "node": SECRET, "no": 1, "key": KEY, "version": 258}
    largest = {**record, "id": 0xFFFFFFFF}
    places = [("a record", record), ("a record with the largest number", largest), ("a value", value)]
    places += [(f"a wrap, {label}", {**wrap, "label": label}) for label in ("node-keys", "cmk", "dek")]
    for name, given in places:
        kind.opens(name, {**given, "aad": aad_of(given)}, {})
    good = aad_of(record)
    for defect, claimed in [
        ("another format's prefix", good.replace(b"kmsfs/0/", b"kmsfs/1/")),
        ("no zero behind the label", good.replace(b"record\0", b"record")),
        ("another algorithm", good.replace(b"record\0\1", b"record\0\2")),
        ("a field left out", good[:-21]),
        ("a number with its most significant byte first", good.replace(f.u32(SECRET), f.u32(SECRET)[::-1], 1)),
        ("two fields in another order", f.aad("record", STORE, SCOPE, SECRET, 69, IDX)),
        ("lengths in two bytes", good.replace(f.u32(16), f.u16(16))),
    ]:
        kind.fails(defect, "Differs", {**record, "aad": claimed})
    return kind


def indexes():
    def compute(given):
        return f.index(given["key"], given["domain"], given["name"].encode())

    kind = Kind("index", lambda given: same(compute(given), given["index"]))
    names = [("instance", "prod"), ("key", "default"), ("directory", "password"), ("directory", "x" * 192)]
    for domain, name in names + [("secret", ""), ("trash", "db/password")]:
        given = {"key": INDEX, "domain": domain, "name": name}
        kind.opens(f"{domain} {name[:20]}", {**given, "index": compute(given)}, {})
    given = {"key": INDEX, "domain": "key", "name": "default"}
    for defect, claimed in [
        ("no length of the domain", f.hmac256(INDEX, b"keydefault")[:16]),
        ("another domain", f.index(INDEX, "trash", b"default")),
        ("another key", f.index(META, "key", b"default")),
        ("the last 16 bytes and not the first", f.hmac256(INDEX, b"\3keydefault")[16:]),
    ]:
        kind.fails(defect, "Differs", {**given, "index": claimed})
    return kind


def digests():
    def compute(given):
        key = f.sub(given["master"], "set", given["store"])
        return f.digest(f.element(key, row["table"], row["node"], row["no"], row["row"]) for row in given["rows"])

    kind = Kind("digest", lambda given: same(compute(given), given["digest"]))
    record = {"table": 1, "node": SECRET, "no": 0, "row": f.record_row(SCOPE, 69, IDX, named("sealed"))}
    wraps = [{"table": 3, "node": SECRET, "no": no, "row": named(f"wrap {no}")} for no in range(9)]
    base = {"master": MASTER, "store": STORE}
    for name, rows in [("nothing", []), ("a record", [record]), ("a wrap", wraps[:1]), ("ten rows", [record] + wraps)]:
        given = {**base, "rows": rows}
        kind.opens(name, {**given, "digest": compute(given)}, {})
    given = {**base, "rows": [record] + wraps}
    kind.opens("ten rows in another order", {**base, "rows": wraps + [record], "digest": compute(given)}, {})
    total = int.from_bytes(compute(given), "little")
    for defect, claimed in [
        ("a row is missing", compute({**base, "rows": [record] + wraps[1:]})),
        ("a row is there twice", compute({**base, "rows": [record] + wraps + wraps[:1]})),
        ("a row stands in another table", compute({**base, "rows": [{**record, "table": 3}] + wraps})),
        ("a row has another number", compute({**base, "rows": [{**record, "no": 1}] + wraps})),
        ("a row has other bytes", compute({**base, "rows": [{**record, "row": flipped(record["row"], 30)}] + wraps})),
        ("the sum has its most significant byte first", total.to_bytes(32, "big")),
        ("another store's key", compute({**given, "store": OTHER_STORE})),
    ]:
        kind.fails(defect, "Differs", {**given, "digest": claimed})
    return kind


# The header and the slots


def headers():
    def read(given):
        version, store = f.read_header(given["header"])
        return {"format": version, "store": store}

    kind, good = Kind("header", read), f.write_header(STORE)
    for name, version in [("format 0", 0), ("a newer format is read, to be named", 258)]:
        kind.opens(name, {"header": f.write_header(STORE, version)}, {"format": version, "store": STORE})
    body = b"kmsfs1" + good[6:24]
    for defect, header in [
        ("another mark", body + f.sha256(body)[:8]),
        ("an altered format", flipped(good, 6)),
        ("an altered store id", flipped(good, 23)),
        ("an altered checksum", flipped(good, 31)),
        ("a byte too few", good[:-1]),
        ("a byte too many", good + b"\0"),
        ("no byte", b""),
    ]:
        kind.fails(defect, "Malformed", {"header": header})
    return kind


def slots():
    sources = {"key file": f.KEY_FILE, "passphrase": f.PASSPHRASE}

    def read(given):
        kind = sources[given["source_kind"]]
        return {"master": f.read_slot(given["store"], given["number"], given["slot"], kind, given["source"])}

    def write(number, kind, cost, source, name, header=None):
        return f.write_slot(STORE, number, sources[kind], cost, named(f"salt {name}"), source, named(name, 12), MASTER)

    def given(number, kind, source, slot):
        return {"store": STORE, "number": number, "source_kind": kind, "source": source, "slot": slot}

    def resummed(slot):
        return slot[:143] + f.sha256(slot[:143])[:8]

    kind, key = Kind("slot", read), named("key file")
    file_slot, pass_slot = write(2, "key file", NO_COST, key, "a"), write(3, "passphrase", LEAST, PASS, "b")
    by_file, by_pass = given(2, "key file", key, file_slot), given(3, "passphrase", PASS, pass_slot)
    opens = {"master": MASTER}
    kind.opens("a key file", by_file, opens)
    kind.opens("a key file in the last slot", given(7, "key file", key, write(7, "key file", NO_COST, key, "c")), opens)
    kind.opens("a passphrase at the least cost", by_pass, opens)
    costly = write(0, "passphrase", (19_457, 2, 2), PASS, "d")
    kind.opens("a passphrase, two passes, two lanes", given(0, "passphrase", PASS, costly), opens)
    for defect, error, slot in [
        ("another mark", "Damaged", resummed(b"slut" + file_slot[4:])),
        ("an altered checksum", "Damaged", flipped(file_slot, 150)),
        ("an unknown kind", "Damaged", resummed(file_slot[:5] + b"\3" + file_slot[6:])),
        ("a byte too few", "Damaged", file_slot[:-1]),
        ("a byte too many", "Damaged", file_slot + b"\0"),
        ("an altered salt under a sound checksum", "WrongKey", resummed(flipped(file_slot, 18))),
        ("an altered commitment under a sound checksum", "WrongKey", resummed(flipped(file_slot, 50))),
        ("a cost that a key file has not, under a sound checksum", "Damaged", resummed(flipped(file_slot, 6))),
        ("another algorithm under a sound checksum", "Damaged", resummed(flipped(file_slot, 82))),
        ("an altered nonce under a sound checksum", "Damaged", resummed(flipped(file_slot, 83))),
        ("an altered master key under a sound checksum", "Damaged", resummed(flipped(file_slot, 100))),
        ("an altered tag under a sound checksum", "Damaged", resummed(flipped(file_slot, 142))),
    ]:
        kind.fails(defect, error, {**by_file, "slot": slot})
    kind.fails("a slot that was moved", "Damaged", {**by_file, "number": 3})
    kind.fails("another store's slot", "WrongKey", {**by_file, "store": OTHER_STORE})
    kind.fails("another key file", "WrongKey", {**by_file, "source": named("another key file")})
    kind.fails("another passphrase", "WrongKey", {**by_pass, "source": PASS + b"\n"})
    kind.fails("a passphrase for a key file's slot", "OtherKind", {**by_file, "source_kind": "passphrase"})
    kind.fails("a key file for a passphrase's slot", "OtherKind", {**by_pass, "source_kind": "key file", "source": key})
    costs = [("m", 19_455, 1, 1), ("m", 1_048_577, 1, 1), ("t", 19_456, 0, 1), ("t", 19_456, 11, 1)]
    for name, *cost in costs + [("p", 19_456, 1, 0), ("p", 19_456, 1, 17)]:
        header = b"".join(f.u32(part) for part in cost)
        slot = resummed(pass_slot[:6] + header + pass_slot[18:])
        kind.fails(f"{name} out of bounds: {cost['mtp'.index(name)]}", "Damaged", {**by_pass, "slot": slot})
    return kind


# What is sealed: for each kind how it is opened, a good one, and the same with one defect


def seal_defects(kind, given, member, what_is_moved):
    """The defects that every seal of 29 bytes and more can have."""
    sealed = given[member]
    at = 8 if member == "wrap" else 0
    for defect, error, changed in [
        ("another algorithm", "Malformed", sealed[:at] + b"\2" + sealed[at + 1:]),
        ("an altered nonce", "Altered", flipped(sealed, at + 1)),
        ("an altered ciphertext", "Altered", flipped(sealed, at + 13)),
        ("an altered tag", "Altered", flipped(sealed, len(sealed) - 1)),
        ("no byte", "Malformed", b""),
    ]:
        kind.fails(defect, error, {**given, member: changed})
    for name, value in what_is_moved:
        kind.fails(f"another {name}", "Altered", {**given, name: value})


def wraps():
    def read(given):
        label = given["label"]
        sub = {"node-keys": "wrap-node", "cmk": "wrap-cmk"}.get(label)
        key = f.sub(given["by"], sub, given["store"]) if sub else given["by"]
        row = (given["node"], given["no"])
        return {"payload": f.unwrap(key, label, given["store"], given["scope"], row, given["wrap"])}

    def write(given, name, payload, ref=f.NO_REF, label=None):
        sub = {"node-keys": "wrap-node", "cmk": "wrap-cmk"}.get(given["label"])
        key = f.sub(given["by"], sub, STORE) if sub else given["by"]
        row = (given["node"], given["no"])
        wrapped = f.wrap(key, named(name, 12), label or given["label"], STORE, SCOPE, row, payload, ref)
        return {**given, "wrap": wrapped}

    kind, base = Kind("wrap", read), {"store": STORE, "scope": SCOPE}
    keys = {**base, "label": "node-keys", "by": MASTER, "node": SCOPE, "no": 0}
    cmk = {**base, "label": "cmk", "by": MASTER, "node": KEY, "no": 1}
    dek = {**base, "label": "dek", "by": CMK, "node": SECRET, "no": 1}
    kind.opens("an instance's keys", write(keys, "keys", META + INDEX), {"payload": META + INDEX})
    kind.opens("a key version", write(cmk, "cmk wrap", CMK), {"payload": CMK})
    kind.opens("a later key version", write({**cmk, "no": 258}, "cmk 258", CMK), {"payload": CMK})
    good = write(dek, "dek wrap", DEK, (KEY, 1))
    kind.opens("a value's key", good, {"payload": DEK})
    kind.opens("a value's key under a later key version", write(dek, "dek 2", DEK, (KEY, 258)), {"payload": DEK})
    moved = [("store", OTHER_STORE), ("scope", 80), ("node", 71), ("no", 2), ("by", named("another cmk"))]
    seal_defects(kind, good, "wrap", moved)
    for defect, error, wrapped in [
        ("another key named in front", "Altered", flipped(good["wrap"], 0)),
        ("another version named in front", "Altered", flipped(good["wrap"], 4)),
        ("a byte too few", "Malformed", good["wrap"][:-1]),
        ("a byte too many", "Malformed", good["wrap"] + b"\0"),
        ("a second half that is not zeros", "Malformed", write(dek, "half", DEK + INDEX, (KEY, 1))["wrap"]),
        ("a value's key sealed as a key version", "Altered", write(dek, "as", DEK, (KEY, 1), "cmk")["wrap"]),
    ]:
        kind.fails(defect, error, {**good, "wrap": wrapped})
    kind.fails("a key version sealed as an instance's keys", "Altered", write(cmk, "as keys", CMK, label="node-keys"))
    return kind


def padding_defects(kind, given, seal):
    """Plaintexts under a sound seal that are not padded as they should be."""
    for defect, padded in [
        ("no length", b""),
        ("a length past the end", f.u32(61).ljust(64, b"\0")),
        ("the largest length", b"\xff" * 64),
        ("a byte behind the end", f.u32(3) + b"abc".ljust(59, b"\0") + b"\1"),
        ("a bucket too large", (f.u32(3) + b"abc").ljust(128, b"\0")),
        ("no padding", f.u32(3) + b"abc"),
    ]:
        kind.fails(defect, "Malformed", {**given, "sealed": seal(defect, padded)})


def records():
    def associated(given):
        return f.record_aad(*(given[name] for name in ("store", "id", "scope", "parent", "idx")))

    def read(given):
        return {"plain": f.open_padded(given["meta"], associated(given), given["sealed"], "a record")}

    kind = Kind("record", read)
    at = {"meta": META, "store": STORE, "id": SECRET, "scope": SCOPE, "parent": 69, "idx": IDX}
    plains = [("an empty one", b""), ("a key", b'{"key":{}}'), ("two buckets", b"x" * 61), ("a long one", b"y" * 4000)]
    for name, plain in plains:
        sealed = f.seal(META, named(name, 12), associated(at), f.pad(plain))
        kind.opens(name, {**at, "sealed": sealed}, {"plain": plain})
    root = {**at, "id": 16, "scope": 16, "parent": 0, "idx": bytes(15) + b"\x10"}
    root["meta"] = f.sub(MASTER, "root-meta", STORE)
    sealed = f.seal(root["meta"], named("root", 12), associated(root), f.pad(b'{"root":{}}'))
    kind.opens("the root", {**root, "sealed": sealed}, {"plain": b'{"root":{}}'})
    good = {**at, "sealed": f.seal(META, named("good record", 12), associated(at), f.pad(b"{}"))}
    moved = [("store", OTHER_STORE), ("id", 71), ("scope", 80), ("parent", 70), ("idx", named("other", 16))]
    moved += [("meta", INDEX)]
    seal_defects(kind, good, "sealed", moved)
    padding_defects(kind, at, lambda name, padded: f.seal(META, named(f"record {name}", 12), associated(at), padded))
    as_value = f.seal(META, named("as value", 12), f.value_aad(STORE, SCOPE, SECRET, 1), f.pad(b"{}"))
    kind.fails("a record sealed as a value", "Altered", {**at, "sealed": as_value})
    return kind


def values():
    def associated(given):
        return f.value_aad(*(given[name] for name in ("store", "scope", "secret", "version")))

    def read(given):
        plain = f.open_padded(given["dek"], associated(given), given["sealed"], "a value")
        assert plain == plain_of(len(plain))
        return {"len": len(plain)}

    kind = Kind("value", read)
    at = {"dek": DEK, "store": STORE, "scope": SCOPE, "secret": SECRET, "version": 1}
    edges = [64 << n for n in range(6)] + [2176, 4096, 16_384, 30_724]
    for length in sorted({1} | {edge - 4 + more for edge in edges for more in (0, 1) if edge - 4 + more <= 30_720}):
        sealed = f.seal(DEK, named(f"value {length}", 12), associated(at), f.pad(plain_of(length)))
        kind.opens(f"{length} bytes in a bucket of {len(sealed) - 29}", {**at, "sealed": sealed}, {"len": length})
    good = {**at, "sealed": f.seal(DEK, named("good value", 12), associated(at), f.pad(plain_of(6)))}
    moved = [("store", OTHER_STORE), ("scope", 80), ("secret", 71), ("version", 2), ("dek", CMK)]
    seal_defects(kind, good, "sealed", moved)
    kind.fails("a byte too few", "Altered", {**good, "sealed": good["sealed"][:-1]})
    padding_defects(kind, at, lambda name, padded: f.seal(DEK, named(f"value {name}", 12), associated(at), padded))
    return kind


def heads():
    def read(given):
        key = f.sub(given["master"], "head", given["store"])
        return f.read_head(f.unseal(key, f.aad("head", given["store"]), given["sealed"], "the head"))._asdict()

    def seal(name, plain, label="head"):
        return f.seal(f.sub(MASTER, "head", STORE), named(name, 12), f.aad(label, STORE), plain)

    kind, at = Kind("head", read), {"master": MASTER, "store": STORE}
    large = f.Head(2**64 - 1, 2**32 - 1, 2**63, 2**32, 2**40 + 1, b"\xff" * 32, bytes(range(128)), 2**64 - 2)
    slot = f.write_slot(STORE, 0, f.KEY_FILE, NO_COST, named("salt"), named("key file"), named("nonce", 12), MASTER)
    marks = f.slot_mark(f.sub(MASTER, "slots", STORE), 0, slot) + bytes(7 * 16)
    after_init = f.Head(1, 64, 1, 0, 0, named("digest"), marks, 0)
    for name, head in [("after init", after_init), ("the largest numbers", large)]:
        kind.opens(name, {**at, "sealed": seal(name, f.write_head(head))}, head._asdict())
    plain = f.write_head(f.Head(7, 80, 6, 5, 4, named("digest"), marks, 3))
    good = {**at, "sealed": seal("good head", plain)}
    seal_defects(kind, good, "sealed", [("store", OTHER_STORE), ("master", named("another master"))])
    kind.fails("a byte too few under a sound seal", "Malformed", {**at, "sealed": seal("short", plain[:-1])})
    kind.fails("a byte too many under a sound seal", "Malformed", {**at, "sealed": seal("long", plain + b"\0")})
    kind.fails("a head sealed as a record", "Altered", {**at, "sealed": seal("as record", plain, "record")})
    return kind


def main():
    folder = sys.argv[1]
    for kind in (aads(), indexes(), digests(), headers(), slots(), wraps(), records(), values(), heads()):
        with open(os.path.join(folder, f"{kind.name}.json"), "w", encoding="utf-8") as file:
            json.dump({"kind": kind.name, "vectors": kind.vectors}, file, indent=1, ensure_ascii=False)
            file.write("\n")
        failing = sum("error" in vector for vector in kind.vectors)
        print(f"{kind.name:8} {len(kind.vectors):4} vectors, {failing:3} of them must fail")


if __name__ == "__main__":
    main()
