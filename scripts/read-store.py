#!/usr/bin/python3
"""Reads a store of kmsfs without kmsfs, and prints all of it as JSON: every name, tag, label and value in the clear.

    read-store.py STORE --key-file FILE          a key of 32 raw bytes or 64 hexadecimal digits
    read-store.py STORE --passphrase-file FILE   a passphrase; one newline at its end is not part of it

STORE is a store's directory that nobody has open, or a copy of one; nothing in it is written. Exit code 1: it opens, but its
counts or its digest are not those of its head, or something in it does not open. 2: it cannot be read at all.
"""

import argparse
import base64
import json
import os
import shutil
import sqlite3
import struct
import sys
import tempfile

try:
    import kmsfs_format as f
except ImportError as error:
    sys.exit(f"read-store.py: error: {error}\nread-store.py: hint: apt install python3-cryptography python3-argon2")


class Store:
    """The rows of a database, before any of them is opened."""

    def __init__(self, directory):
        check_file(directory)
        with tempfile.TemporaryDirectory() as scratch:
            # SQLite replays a log into the file it belongs to, so it is given copies.
            for name in ("store.db", "store.db-wal"):
                if os.path.exists(os.path.join(directory, name)):
                    shutil.copyfile(os.path.join(directory, name), os.path.join(scratch, name))
            database = sqlite3.connect(os.path.join(scratch, "store.db"))
            # The log may hold a format that the file's header does not have yet.
            if database.execute("PRAGMA user_version").fetchone()[0] > f.FORMAT:
                raise f.FormatError("Newer", "store.db-wal")
            rows = database.execute("SELECT id, scope, parent, idx, sealed FROM record ORDER BY id")
            self.records = {node: (scope, parent, idx, sealed) for node, scope, parent, idx, sealed in rows}
            self.values = {(n, no): v for n, no, v in database.execute("SELECT node, no, sealed FROM value")}
            rows = database.execute("SELECT at, sealed FROM wrap WHERE at < x'ffffffff'")
            self.wraps = {struct.unpack(">II", at): sealed for at, sealed in rows}
            database.close()

    def nodes(self):
        return {node: row for node, row in self.records.items() if node >= f.ROOT}


def check_file(directory):
    """Refuses what is no store, or a newer one: section 2."""
    with open(os.path.join(directory, "store.db"), "rb") as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0") or header[68:72] != b"kmsf":
        raise f.FormatError("Damaged", "store.db")
    if struct.unpack(">i", header[60:64])[0] > f.FORMAT:
        raise f.FormatError("Newer", "store.db")


def open_slots(store, store_id, kind, source):
    """The master key out of the first slot that opens, the cheapest tried first, and what there is in all of them."""
    sealed = {number: store.records[f.FIRST_SLOT + number][3] for number in range(f.SLOTS)
              if f.FIRST_SLOT + number in store.records}
    kinds = {1: "key file", 2: "passphrase"}
    slots = [{"number": number, "kind": kinds.get(slot[5] if len(slot) > 5 else 0, "damaged")} for number, slot in sealed.items()]
    why, spent = f.FormatError("OtherKind", "every slot"), 0
    for number in sorted(sealed, key=lambda number: (f.slot_work(sealed[number]), number)):
        spent += f.slot_work(sealed[number]) if kind == f.PASSPHRASE else 0
        if spent > f.MOST_WORK:
            raise f.FormatError("Cost", f"slot {number}")
        try:
            return f.read_slot(store_id, number, sealed[number], kind, source), slots
        except f.FormatError as error:
            if error.kind != "OtherKind":
                why = error
    raise why


class Reader:
    """An unlocked store, and what was wrong with it."""

    def __init__(self, store, kind, source):
        self.store, self.problems = store, []
        version, self.id = f.read_header(store.records[f.HEADER][3])
        if version > f.FORMAT:
            raise f.FormatError("Newer", "the header")
        self.master, self.slots = open_slots(store, self.id, kind, source)
        self.keys = {f.ROOT: [f.sub(self.master, label, self.id) for label in ("root-meta", "root-index")]}

    def head(self):
        """The head, once its counts and its digest are compared with what is there."""
        sealed, key = self.store.records[f.HEAD][3], f.sub(self.master, "head", self.id)
        head = f.read_head(f.unseal(key, f.aad("head", self.id), sealed, "head"))
        key = f.sub(self.master, "set", self.id)
        nodes, wraps = self.store.nodes(), self.store.wraps
        elements = [f.element(key, f.RECORDS, node, 0, f.record_row(*row)) for node, row in nodes.items()]
        elements += [f.element(key, f.WRAPS, node, no, sealed) for (node, no), sealed in wraps.items()]
        found = {"records": len(nodes), "values": len(self.store.values), "wraps": len(wraps)}
        for what, count in found.items():
            if count != getattr(head, what):
                self.problems.append(f"{count} {what} are there, the head counts {getattr(head, what)}")
        if f.digest(elements) != head.digest:
            self.problems.append("the set digest differs")
        key = f.sub(self.master, "slots", self.id)
        for number in range(f.SLOTS):
            row = self.store.records.get(f.FIRST_SLOT + number)
            mark = f.slot_mark(key, number, row[3]) if row else bytes(16)
            if mark != head.slots[16 * number:][:16]:
                self.problems.append(f"unlock slot {number} is not the head's")
        return {**head._asdict(), "digest": head.digest.hex(), "slots": head.slots.hex()}

    def attempt(self, what, read):
        """What `read` gives, or None and a problem."""
        try:
            return read()
        except (f.FormatError, KeyError, ValueError) as error:
            self.problems.append(f"{what}: {error!r}")
            return None

    def node(self, node):
        scope, parent, idx, sealed = self.store.records[node]
        associated = f.record_aad(self.id, node, scope, parent, idx)
        meta, index = self.keys[scope]
        found = json.loads(f.open_padded(meta, associated, sealed, f"record {node}"))
        if (parent, idx) not in places(scope, parent, found, index):
            self.problems.append(f"record {node}: it stands where its name does not belong")
        return {"id": node, "parent": parent, "idx": idx.hex(), **found}

    def nodes(self, scope):
        ids = [node for node, row in self.store.nodes().items() if row[0] == scope]
        found = [self.attempt(f"record {node}", lambda: self.node(node)) for node in ids]
        return [node for node in found if node is not None]

    def wrapped(self, sub, label, scope, row):
        return f.unwrap(f.sub(self.master, sub, self.id), label, self.id, scope, row, self.store.wraps[row])

    def value(self, scope, secret, no):
        wrapped = self.store.wraps[(secret, no)]
        by = f.wrap_ref(wrapped, "dek")
        cmk = self.wrapped("wrap-cmk", "cmk", scope, by)
        dek = f.unwrap(cmk, "dek", self.id, scope, (secret, no), wrapped)
        associated = f.value_aad(self.id, scope, secret, no)
        plain = f.open_padded(dek, associated, self.store.values[(secret, no)], f"value {no} of {secret}")
        return {"no": no, "key": by[0], "key_version": by[1], **readable(plain)}

    def instance(self, found):
        scope = found["id"]
        keys = self.attempt(f"keys of {scope}", lambda: self.wrapped("wrap-node", "node-keys", scope, (scope, 0)))
        if keys is None:
            return found
        self.keys[scope] = keys[:32], keys[32:]
        nodes = self.nodes(scope)
        for node in (node for node in nodes if "secret" in node):
            numbers = [version["no"] for version in node["secret"]["secret"]["versions"]]
            read = (lambda no=no: self.value(scope, node["id"], no) for no in numbers)
            node["values"] = [self.attempt(f"value of {node['id']}", one) for one in read]
        kinds = {"keys": "key", "directories": "directory", "secrets": "secret"}
        return {**found, **{many: [node for node in nodes if one in node] for many, one in kinds.items()}}

    def dump(self):
        head, tops = self.head(), self.nodes(f.ROOT)
        root = next((node for node in tops if "root" in node), None)
        instances = [self.instance(node) for node in tops if "instance" in node]
        return {
            "format": f.FORMAT,
            "store": self.id.hex(),
            "slots": self.slots,
            "head": head,
            "root": root,
            "instances": instances,
            "problems": self.problems,
        }


def places(scope, parent, node, key):
    """Where a node of `scope` may stand, as (list, index): section 3."""
    ((kind, content),) = node.items()
    name = content["secret"]["name"] if kind == "secret" else content.get("name", "")
    named = {
        "root": [(0, bytes(12) + struct.pack(">I", f.ROOT))],
        "instance": [(f.ROOT, f.index(key, "instance", name.encode()))],
        "key": [(scope + 1, f.index(key, "key", name.encode()))],
        "directory": [(parent, f.index(key, "directory", name.split("/")[-1].encode()))],
        "secret": [(parent, f.index(key, "secret", b"")), (scope + 2, f.index(key, "trash", name.encode()))],
    }
    return named[kind]


def readable(plain):
    try:
        return {"text": plain.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(plain).decode()}


def read_source(options):
    if options.passphrase_file:
        with open(options.passphrase_file, "rb") as file:
            passphrase = file.read()
        return f.PASSPHRASE, passphrase[:-1] if passphrase.endswith(b"\n") else passphrase
    with open(options.key_file, "rb") as file:
        key = file.read()
    return f.KEY_FILE, key if len(key) == 32 else bytes.fromhex(key.decode().strip())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--key-file")
    source.add_argument("--passphrase-file")
    options = parser.parse_args()
    try:
        reader = Reader(Store(options.store), *read_source(options))
        dump = reader.dump()
    except (f.FormatError, OSError, KeyError, sqlite3.Error) as error:
        print(f"read-store.py: error: {error}", file=sys.stderr)
        return 2
    json.dump(dump, sys.stdout, indent=1, sort_keys=True)
    print()
    for problem in dump["problems"]:
        print(f"read-store.py: problem: {problem}", file=sys.stderr)
    return 1 if dump["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
