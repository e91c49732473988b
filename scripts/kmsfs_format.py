"""The bytes of a store, written from docs/format.md alone: a second implementation, to check the first one with.

Reads and writes every sealed thing; nonces and keys are given, never made, so that the same call gives the same bytes. Needs
Python 3.9 or newer, and of Debian's packages python3-cryptography and, for passphrases, python3-argon2.
"""

import hashlib
import hmac
import struct
from collections import namedtuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

FORMAT = 0
HEADER, HEAD, FIRST_SLOT, SLOTS, ROOT = 1, 2, 8, 8, 16
RECORDS, WRAPS = 1, 3
KEY_FILE, PASSPHRASE = 1, 2
AES_256_GCM = 1
NO_REF = (0, 0)
MOST_WORK = 10_485_760

Head = namedtuple("Head", "counter next_node records values wraps digest slots audited")


class FormatError(Exception):
    """Bytes that do not open. `kind` is Malformed, Altered, Damaged, WrongKey, OtherKind, or Cost."""

    def __init__(self, kind, what):
        super().__init__(f"{what}: {kind}")
        self.kind = kind


def u8(number):
    return struct.pack("<B", number)


def u16(number):
    return struct.pack("<H", number)


def u32(number):
    return struct.pack("<I", number)


def u64(number):
    return struct.pack("<Q", number)


def sha256(data):
    return hashlib.sha256(data).digest()


def hmac256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


# Seals: section 7


def aad(label, store, *fields):
    """The associated data of `label`; numbers among `fields` become u32le."""
    data = b"kmsfs/0/" + label.encode() + b"\0" + u8(AES_256_GCM)
    for number, field in enumerate((store,) + fields):
        field = u32(field) if isinstance(field, int) else field
        data += u8(number) + u32(len(field)) + field
    return data


def seal(key, nonce, associated, plain):
    return u8(AES_256_GCM) + nonce + AESGCM(key).encrypt(nonce, plain, associated)


def unseal(key, associated, sealed, what):
    if len(sealed) < 29 or sealed[0] != AES_256_GCM:
        raise FormatError("Malformed", what)
    try:
        return AESGCM(key).decrypt(sealed[1:13], sealed[13:], associated)
    except InvalidTag:
        raise FormatError("Altered", what) from None


def bucket(length):
    if length <= 2048:
        return max(64, 1 << max(0, length - 1).bit_length())
    exponent = length.bit_length() - 1
    step = 1 << (exponent - exponent.bit_length())
    return -(-length // step) * step


def pad(plain):
    return (u32(len(plain)) + plain).ljust(bucket(4 + len(plain)), b"\0")


def unpad(padded, what):
    if len(padded) < 4:
        raise FormatError("Malformed", what)
    (length,) = struct.unpack_from("<I", padded)
    plain, rest = padded[4:4 + length], padded[4 + length:]
    if len(plain) != length or any(rest) or len(padded) != bucket(4 + length):
        raise FormatError("Malformed", what)
    return plain


# The header: section 4


def write_header(store, version=FORMAT):
    body = b"kmsfs\0" + u16(version) + store
    return body + sha256(body)[:8]


def read_header(data):
    """(format, store id)"""
    if len(data) != 32 or not data.startswith(b"kmsfs\0") or sha256(data[:24])[:8] != data[24:]:
        raise FormatError("Malformed", "the header")
    return struct.unpack_from("<H", data, 6)[0], data[8:24]


# Unlock slots: section 5


def slot_header(number, kind, cost, salt):
    return b"slot" + u8(number) + u8(kind) + b"".join(u32(part) for part in cost) + salt


def slot_keys(store, number, kind, cost, salt, source):
    """(KEK, commitment)"""
    if kind == PASSPHRASE:
        from argon2.low_level import Type, hash_secret_raw

        m_kib, passes, lanes = cost
        source = hash_secret_raw(source, salt, passes, m_kib, lanes, 32, Type.ID, 0x13)
    info = b"kmsfs/0/slot" + store + u8(number) + u8(kind)
    keys = HKDF(hashes.SHA256(), 64, salt, info).derive(source)
    return keys[:32], keys[32:]


def write_slot(store, number, kind, cost, salt, source, nonce, master):
    header = slot_header(number, kind, cost, salt)
    kek, commitment = slot_keys(store, number, kind, cost, salt, source)
    body = header + commitment + seal(kek, nonce, aad("slot", store, header), master)
    return body + sha256(body)[:8]


def slot_work(slot):
    """What trying a passphrase on the slot costs."""
    if len(slot) != 151 or slot[5] != PASSPHRASE:
        return 0
    m_kib, passes, _ = struct.unpack_from("<III", slot, 6)
    return m_kib * passes


def read_slot(store, number, slot, kind, source):
    """The master key, if `source` of `kind` opens it."""
    whole = len(slot) == 151 and slot.startswith(b"slot") and sha256(slot[:143])[:8] == slot[143:]
    if not whole or slot[4] != number or slot[5] not in (KEY_FILE, PASSPHRASE):
        raise FormatError("Damaged", f"slot {number}")
    if slot[5] != kind:
        raise FormatError("OtherKind", f"slot {number}")
    m_kib, passes, lanes = cost = struct.unpack_from("<III", slot, 6)
    if kind == PASSPHRASE and not (19_456 <= m_kib <= 1_048_576 and 1 <= passes <= 10 and 1 <= lanes <= 16):
        raise FormatError("Damaged", f"slot {number}")
    kek, commitment = slot_keys(store, number, kind, cost, slot[18:50], source)
    if not hmac.compare_digest(commitment, slot[50:82]):
        raise FormatError("WrongKey", f"slot {number}")
    try:
        master = unseal(kek, aad("slot", store, slot[:50]), slot[82:143], f"slot {number}")
    except FormatError:
        raise FormatError("Damaged", f"slot {number}") from None
    return master


# Keys: section 6


def sub(master, label, store):
    return HKDFExpand(hashes.SHA256(), 32, b"kmsfs/0/" + label.encode() + store).derive(master)


def index(index_key, domain, name):
    return hmac256(index_key, u8(len(domain)) + domain.encode() + name)[:16]


def wrap_aad(label, store, scope, row, ref):
    return aad(label, store, scope, row[0], row[1], ref[0], ref[1])


def wrap(key, nonce, label, store, scope, row, payload, ref=NO_REF):
    """`row` is (node, no); `ref` (key, version) of the CMK that `key` is."""
    sealed = seal(key, nonce, wrap_aad(label, store, scope, row, ref), payload.ljust(64, b"\0"))
    return u32(ref[0]) + u32(ref[1]) + sealed


def wrap_ref(wrapped, what):
    if len(wrapped) != 101:
        raise FormatError("Malformed", what)
    return struct.unpack_from("<II", wrapped)


def unwrap(key, label, store, scope, row, wrapped):
    """The 64 bytes of an instance's keys, else the one key."""
    ref = wrap_ref(wrapped, label)
    payload = unseal(key, wrap_aad(label, store, scope, row, ref), wrapped[8:], label)
    if label == "node-keys":
        return payload
    if any(payload[32:]):
        raise FormatError("Malformed", label)
    return payload[:32]


# Records and values: sections 7 and 8


def record_aad(store, node, scope, parent, idx):
    return aad("record", store, node, scope, parent, idx)


def value_aad(store, scope, secret, version):
    return aad("value", store, scope, secret, version)


def open_padded(key, associated, sealed, what):
    return unpad(unseal(key, associated, sealed, what), what)


# The head: section 9


def write_head(head):
    return struct.pack("<QIQQQ", *head[:5]) + head.digest + head.slots + struct.pack("<Q", head.audited)


def read_head(plain):
    if len(plain) != 204:
        raise FormatError("Malformed", "the head")
    return Head(*struct.unpack_from("<QIQQQ", plain), plain[36:68], plain[68:196], *struct.unpack_from("<Q", plain, 196))


def slot_mark(slots_key, number, slot):
    """What the head keeps of an unlock slot; zeros stand for one that is not in use."""
    return hmac256(slots_key, u8(number) + slot)[:16]


def element(set_key, table, node, no, row):
    """What a row adds to the set digest, as a number."""
    return int.from_bytes(hmac256(set_key, u8(table) + u32(node) + u32(no) + sha256(row)), "little")


def record_row(scope, parent, idx, sealed):
    return u32(scope) + u32(parent) + idx + sealed


def digest(elements):
    return (sum(elements) % (1 << 256)).to_bytes(32, "little")
