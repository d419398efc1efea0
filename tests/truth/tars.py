# SPDX-License-Identifier: Apache-2.0
"""tars: writes tar headers byte by byte, in the forms that tools leave behind: v7, ustar, GNU, pax,
base-256 numbers, names that are not UTF-8, and the four forms of sparse files.

What a format cannot say is said in a pax header, whatever the format: such archives exist.
"""

BLOCK = 512
TYPES = {"f": b"0", "h": b"1", "l": b"2", "c": b"3", "b": b"4", "d": b"5", "p": b"6"}
MAGICS = {"v7": b"\0" * 8, "ustar": b"ustar\00000", "pax": b"ustar\00000", "gnu": b"ustar  \0"}
SPARSE_FORMS = {"gnu": ("old",), "pax": ("0.0", "0.1", "1.0")}


def padded(data):
    return data + b"\0" * (-len(data) % BLOCK)


def fits(value, width):
    return 0 <= value < 8 ** (width - 1)


def number(value, width, binary=False):
    """Octal, or in base 256 where it must or shall be so."""
    if fits(value, width) and not binary:
        return b"%0*o\0" % (width - 1, value)
    digits = (value % 256 ** (width - 1)).to_bytes(width - 1, "big")
    return (b"\xff" if value < 0 else b"\x80") + digits


def record(key, value):
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = len(body) + 1
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def decimal(nanoseconds):
    """Seconds as pax writes them; what is negative has its fraction counted away from zero."""
    whole, part = divmod(abs(nanoseconds), 10**9)
    text = "%s%d" % ("-" if nanoseconds < 0 else "", whole)
    return (text + (".%09d" % part if part else "")).encode()


def split_name(name):
    """Name and prefix of a ustar header, or None where it is too long for that."""
    if len(name) <= 100:
        return name, b""
    for at in range(max(len(name) - 101, 1), min(156, len(name) - 1)):
        if name[at : at + 1] == b"/":
            return name[at + 1 :], name[:at]
    return None


class Writer:
    def __init__(self, form):
        self.form, self.out, self.has_records = form, bytearray(), False

    def header(self, name, kind, entry=None, size=0, prefix=b"", binary=False):
        """A block. `entry` None: one that says something about the next."""
        link, mode, uid, gid, seconds, device = b"", 0o644, 0, 0, 0, (0, 0)
        if entry is not None:
            link, mode, uid, gid = entry.link, entry.mode, entry.uid, entry.gid
            seconds, device = entry.mtime // 10**9, entry.device
            if self.form == "pax" and not fits(seconds, 12):
                seconds = 0  # a record has it
        head = bytearray(BLOCK)

        def field(at, value):
            head[at : at + len(value)] = value

        field(0, name[:100])
        field(100, number(mode, 8))
        field(108, number(uid, 8, binary))
        field(116, number(gid, 8, binary))
        field(124, number(size, 12, binary))
        field(136, number(seconds, 12, binary))
        field(148, b" " * 8)
        field(156, kind)
        field(157, link[:100])
        field(257, MAGICS[self.form])
        if device != (0, 0) or self.form != "v7":
            field(329, number(device[0], 8))
            field(337, number(device[1], 8))
        field(345, prefix)
        return head

    def emit(self, head, data=b""):
        head[148:156] = b"%06o\0 " % sum(head)
        self.out += head + padded(data)

    # ---- what goes before an entry ----

    def pax(self, records, kind=b"x"):
        data = b"".join(record(key, value) for key, value in records)
        if data:
            self.has_records = True
            name = b"PaxHeaders/0" if kind == b"x" else b"pax_global_header"
            self.emit(self.header(name, kind, size=len(data)), data)

    def gnu_long(self, value, kind):
        self.emit(self.header(b"././@LongLink", kind, size=len(value) + 1), value + b"\0")

    def records_of(self, entry, name, always=False):
        """What the header block cannot say, or all of it."""
        form, records = self.form, []
        if form == "pax" and (always or split_name(name) is None or not name.isascii()):
            records.append(("path", name))
        if form == "pax" and (always or len(entry.link) > 100) and entry.link:
            records.append(("linkpath", entry.link))
        fraction = entry.mtime % 10**9
        if fraction or (form == "pax" and (always or not fits(entry.mtime // 10**9, 12))):
            records.append(("mtime", decimal(entry.mtime)))
        for key, value in (("uid", entry.uid), ("gid", entry.gid)):
            if form == "pax" and (always or not fits(value, 8)):
                records.append((key, b"%d" % value))
        records += [("SCHILY.xattr." + key, value) for key, value in entry.xattrs.items()]
        if form != "gnu" and not ("path" in dict(records)) and split_name(name) is None:
            records.append(("path", name))
        if form != "gnu" and not ("linkpath" in dict(records)) and len(entry.link) > 100:
            records.append(("linkpath", entry.link))
        return records

    def before(self, entry, name, always=False, extra=()):
        """Returns name and prefix for the header that follows."""
        self.pax(self.records_of(entry, name, always) + list(extra))
        if self.form == "gnu":
            if len(entry.link) > 100:
                self.gnu_long(entry.link, b"K")
            if len(name) > 100:
                self.gnu_long(name, b"L")
            return name[:100], b""
        return split_name(name) or (name[:100], b"")

    # ---- entries ----

    def add(self, entry, data=b"", kind=None, size=None, binary=False, always=False):
        """kind, size: what the header says where that is not the entry's own."""
        name, prefix = self.before(entry, entry.path, always)
        head = self.header(name, kind or TYPES[entry.kind], entry, len(data) if size is None else size,
                           prefix, binary)
        self.emit(head, data)

    def add_sparse(self, entry, size, pieces, form):
        """pieces: (offset, bytes), in order."""
        data = b"".join(piece for _, piece in pieces)
        table = [(offset, len(piece)) for offset, piece in pieces]
        getattr(self, "sparse_" + form.replace(".", "_"))(entry, size, table, data)

    def sparse_old(self, entry, size, table, data):
        name, prefix = self.before(entry, entry.path)
        head = self.header(name, b"S", entry, len(data), prefix)
        cells = [number(offset, 12) + number(length, 12) for offset, length in table]
        for at, cell in enumerate(cells[:4]):
            head[386 + 24 * at : 410 + 24 * at] = cell
        rest = [cells[at : at + 21] for at in range(4, len(cells), 21)]
        head[482] = bool(rest)
        head[483:495] = number(size, 12)
        head[148:156] = b"%06o\0 " % sum(head)
        self.out += head
        for at, some in enumerate(rest):
            block = bytearray(padded(b"".join(some)))
            block[504] = at + 1 < len(rest)
            self.out += block
        self.out += padded(data)

    def sparse_pax(self, entry, records, data, stand_in):
        """`stand_in`: a name for readers that know nothing of sparse files."""
        names = [] if stand_in is None else [("GNU.sparse.name", entry.path)]
        name = stand_in or entry.path
        name, prefix = self.before(entry, name, extra=records[:1] + names + records[1:])
        self.emit(self.header(name, b"0", entry, len(data), prefix), data)

    def sparse_0_0(self, entry, size, table, data):
        records = [("GNU.sparse.size", b"%d" % size), ("GNU.sparse.numblocks", b"%d" % len(table))]
        for offset, length in table:
            records += [("GNU.sparse.offset", b"%d" % offset), ("GNU.sparse.numbytes", b"%d" % length)]
        self.sparse_pax(entry, records, data, None)

    def sparse_0_1(self, entry, size, table, data):
        cells = b",".join(b"%d,%d" % cell for cell in table)
        records = [("GNU.sparse.size", b"%d" % size), ("GNU.sparse.numblocks", b"%d" % len(table)),
                   ("GNU.sparse.map", cells)]
        self.sparse_pax(entry, records, data, b"GNUSparseFile.1/part")

    def sparse_1_0(self, entry, size, table, data):
        cells = b"%d\n" % len(table) + b"".join(b"%d\n%d\n" % cell for cell in table)
        records = [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"),
                   ("GNU.sparse.realsize", b"%d" % size)]
        self.sparse_pax(entry, records, padded(cells) + data, b"GNUSparseFile.1/part")

    def end(self, blocks=2):
        self.out += b"\0" * BLOCK * blocks
