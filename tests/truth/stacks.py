# SPDX-License-Identifier: Apache-2.0
"""stacks: layers by chance, the same ones for the same seed and features.

What is proposed is anything; what it takes to get it right is worked out against the tree so far, and
what needs a feature that is switched off is not put into the archive. So a stack without features is
no narrower than it has to be, and a feature's name says what the reader of such a stack must know.
"""
import hashlib
import random

import model
import tars

FEATURES = {
    "implied": "a directory that a lower layer has, without an entry in this one",
    "implied-new": "a directory that no layer has an entry for",
    "parent-symlink": "a path through a symlink of a lower layer",
    "own-symlink": "a path through a symlink of the same layer",
    "host-link": "a path through a symlink to what may be a symlink on the host: /, /bin, /lib",
    "parent-link": "a hard link to something of a lower layer",
    "parent-link-many": "... that has other names there, too",
    "through": "a path through something of a lower layer that is neither directory nor symlink",
    "dotdot": "\"..\" in the name of an entry",
    "late-dir": "a directory's entry after what is in it",
    "late-whiteout": "a whiteout of what the same layer made before",
    "late-opaque": "an opaque marker after names that the same layer made",
    "implied-again": "a whiteout of a directory that the same layer implied",
    "twice": "a name twice in one layer",
    "dir-after-file": "a directory in the place of something else in one layer",
    "file-after-dir": "something else in the place of a directory in one layer",
    "moved-link": "a symlink that the layer used goes",
    "root": "an entry for the root",
    "root-opaque": "an opaque marker in the root",
    "odd-names": "newlines, bytes that are not UTF-8, 255 bytes",
    "long": "paths of up to 2,000 bytes",
    "longest": "paths of up to 4,095 bytes",
    "formats": "ustar, GNU and v7 besides pax",
    "base256": "numbers in base 256 where octal would do",
    "old-times": "before 1970",
    "subzero": "times in the last second before 1970, with a fraction",
    "far-times": "after 2262",
    "xattrs": "user.*, with any bytes",
    "empty-xattrs": "user.*, with no bytes at all",
    "caps": "security.capability",
    "dropped-xattrs": "trusted.*, security.selinux, and xattrs of symlinks and devices",
    "sparse": "pax's three forms of sparse files",
    "sparse-old": "GNU's typeflag S",
    "types": "typeflag NUL for files",
    "cont": "typeflag 7 for files",
    "slash-file": "typeflag 0 with a slash at the end of the name",
    "link-metadata": "hard links whose headers say another owner, mode and time than their target's",
    "link-size": "hard links with a size and no contents, in ustar and GNU archives",
    "link-size-pax": "... after a pax header in the same archive",
    "zero-device": "a character device 0:0",
    "aufs": ".wh..wh.* that means nothing",
    "global": "a pax global header, with a comment",
    "garbage": "bytes after the end of the archive",
    "no-end": "no blocks of zeros at the end",
    "packing": "gzip of several members, zstd of several frames, none",
}

NAMES = [b"a", b"b", b"c", b"d", b"bin", b"lib", b"usr", b"etc", b"opt"]
ODD_NAMES = [b"new\nline", b"\xff\xfe", b"f\xc3\xa9", b"fe\xcc\x81", b"e e", b"back\\slash", b"co:l,on",
             b"-dash", b"...", b"..x", b".wx", b"tab\t", b"n" * 255, b"\xe2\x82", b"m" * 101]
MODES = (0o644, 0o755, 0o600, 0o1777, 0o4755, 0o2750, 0o6711, 0o700, 0o555, 0)
OWNERS = (0, 0, 0, 1000, 33, 2097151, 2097152, 3000000, 4294967290)
CAPABILITIES = (bytes.fromhex("0100000200040000000000000000000000000000"),
                bytes.fromhex("0000000300240000000000000000000000000000e8030000"))
PATH_MAX, NAME_MAX = 4095, 255
OCTAL_MAX = 0o7777777  # what seven digits hold
SLASHED = ("gnu", "ustar")  # a pax record of such a name loses the slash in some readers


SPARSE = {"gnu": "sparse-old", "pax": "sparse"}


def parent(path):
    return b"/".join(model.parts_of(path)[:-1])


class Needs:
    """What an entry takes: steps along its path that make nothing, and what is at its end."""

    def __init__(self, tree, used):
        self.tree, self.used, self.names = tree, used, set()
        self.lacking = []  # directories on the way that this layer has no entry for
        self.passed = []  # symlinks on the way, and on that to a hard link's target

    def up(self):
        self.names.add("dotdot")

    def follow(self, directory, name, node):
        self.passed.append(node)
        own = directory.by[name] == self.tree.layer
        self.names.add("own-symlink" if own else "parent-symlink")
        if node.target.startswith(b"/") and model.parts_of(node.target)[:1] in ([], [b"bin"], [b"lib"]):
            self.names.add("host-link")

    def into(self, directory, name, node):
        layer = self.tree.layer
        if node is None:
            self.names.add("implied-new")
            return model.Node("d", layer)
        if node.kind != "d":
            if directory.by[name] == layer:
                raise model.Refused("through a file of the same layer")
            self.names.add("through")
            return model.Node("d", layer)
        if node.described != layer:
            told = node.made != layer and (node.described or not default(node))
            self.names.add("implied" if told else "implied-new")
            self.lacking.append(node)
        return node

    def going(self, node):
        """What this inode's end does to what this layer did before."""
        if node.kind == "l" and (id(node) in self.used or node in self.passed):
            self.names.add("moved-link")
        if node.kind == "d" and node.described == self.tree.layer:
            self.names.add("file-after-dir")
        for child in (node.children or {}).values():
            self.going(child)

    def hiding(self, directory):
        for name, node in directory.children.items():
            if directory.by[name] != self.tree.layer:
                self.going(node)
            elif node.kind == "d":
                self.hiding(node)

    def whiteout(self, directory, name):
        node = directory.children.get(name)
        if node is None:
            return
        if directory.by[name] != self.tree.layer:
            self.going(node)
            return
        self.names.add("late-whiteout")
        if node.kind == "d":
            self.hiding(node)
            if node.described != self.tree.layer:
                self.names.add("implied-again")

    def opaque(self, directory):
        if directory is self.tree.root:
            self.names.add("root-opaque")
        if any(by == self.tree.layer for by in directory.by.values()):
            self.names.add("late-opaque")
        self.hiding(directory)

    def hard_link(self, entry, directory, name):
        if "through" in self.names:
            raise model.Refused("a link that may be to what is on its own way")
        trail = self.tree.way(parent(entry.link), LinkWay(self))
        where = trail and trail[-1]
        to = model.parts_of(entry.link)[-1]
        node = where and where.children.get(to)
        if node is None or node.kind == "d" or directory.children.get(name) is node:
            raise model.Refused("no such link")
        there = directory.children.get(name)
        if there is not None and there.kind == "d" and there in trail:
            raise model.Refused("a link to what it replaces")
        if where.by[to] != self.tree.layer:
            self.names.add("parent-link")
            if names_of(self.tree.root, node) > 1:
                self.names.add("parent-link-many")

    def entry(self, directory, name, entry):
        layer, there = self.tree.layer, directory.children.get(name)
        if entry.kind == "c" and entry.device == (0, 0):
            self.names.add("zero-device")
        if entry.kind == "h":
            self.hard_link(entry, directory, name)
        if there is None:
            return
        own = directory.by[name] == layer
        if there.kind == entry.kind == "d":
            if own:
                self.names.add("twice" if there.described == layer else "late-dir")
            return
        self.going(there)
        if own:
            self.names.add("dir-after-file" if entry.kind == "d" else "twice")


class LinkWay:
    """The way to a hard link's target: only links count, nothing is made."""

    def __init__(self, needs):
        self.follow, self.up, self.into = needs.follow, model.Look.up, model.Look.into


def default(node):
    return (node.mode, node.uid, node.gid, node.mtime, node.xattrs) == (0o755, 0, 0, 0, {})


def names_of(directory, wanted):
    found = 0
    for node in directory.children.values():
        found += node is wanted
        if node.kind == "d":
            found += names_of(node, wanted)
    return found


class Layer:
    def __init__(self, stack, number):
        self.stack, self.dice, self.tree, self.number = stack, stack.dice, stack.tree, number
        dice, has = self.dice, self.has
        forms = ("pax", "pax", "gnu", "ustar", "v7") if has("formats") else ("pax",)
        self.form = dice.choice(forms)
        self.tar = tars.Writer(self.form)
        self.tree.layer = number
        self.starts = []  # where in the archive entries begin
        self.used = {}  # symlinks on the way of an entry of this layer: id -> node
        self.implying = has("implied") and dice.random() < 0.5
        self.sizes = has("link-size") and self.form in ("gnu", "ustar") and dice.random() < 0.2
        self.prefix = dice.choice((b"", b"", b"./", b"/"))

    def has(self, feature):
        return feature in self.stack.features

    # ---- putting an entry into the archive ----

    def needs_of(self, entry):
        needs = Needs(self.tree, self.used)
        parts = model.parts_of(entry.path)
        if not parts:
            needs.names.add("root")
            return needs
        name = parts.pop()
        if name.startswith(b".wh..wh.") and name != b".wh..wh..opq":
            needs.names.add("aufs")
            return needs
        directory = self.tree.way(b"/".join(parts), needs)[-1]
        if name == b".wh..wh..opq":
            needs.opaque(directory)
        elif name.startswith(b".wh."):
            needs.whiteout(directory, name[len(b".wh."):])
        else:
            needs.entry(directory, name, entry)
        return needs

    def describe_way(self, path):
        """Entries for the directories on the way that lower layers have and this one not."""
        parts = model.parts_of(path)[:-1]
        for count in range(1, len(parts) + 1):
            way = b"/".join(parts[:count])
            needs = Needs(self.tree, self.used)
            node = self.tree.way(way, needs)[-1]
            if node in needs.lacking and (node.described or not default(node)):
                where = self.path_of(node)
                if where is not None:
                    self.offer(self.entry(where, "d"))

    def path_of(self, wanted):
        """By its real name, so that no symlink is on the way."""
        todo = [(b"", self.tree.root)]
        while todo:
            path, node = todo.pop()
            if node is wanted:
                return path
            todo += [(path + b"/" * bool(path) + name, child) for name, child in node.children.items()
                     if child.kind == "d"]
        return None

    def offer(self, entry, data=b"", **how):
        """Puts it in if it is allowed to be there."""
        try:
            needs = self.needs_of(entry)
            if "implied" in needs.names and not self.implying:
                self.describe_way(entry.path)
                needs = self.needs_of(entry)
                if "implied" in needs.names:
                    return False
            if needs.names - self.stack.features or not self.sayable(entry):
                return False
        except model.Refused:
            return False
        self.remember_links(entry)
        self.stack.met |= needs.names
        self.starts.append(len(self.tar.out))
        self.write(entry, data, how)
        self.tree.apply(entry)
        return True

    def remember_links(self, entry):
        class Follow(model.Look):
            follow = staticmethod(lambda directory, name, node: self.used.update({id(node): node}))

        self.tree.way(parent(entry.path), Follow)
        if entry.kind == "h":
            self.tree.way(parent(entry.link), Follow)

    def sayable(self, entry):
        """Lengths, and what v7 has no words for."""
        longest = PATH_MAX if self.has("longest") else 2000
        parts = model.parts_of(entry.path)
        if len(entry.path) > longest or any(len(part) > NAME_MAX for part in parts):
            return False
        trail = self.tree.way(b"/".join(parts[:-1]), Needs(self.tree, self.used)) if parts else ()
        if len(trail) * 256 > longest and self.real_length(parts[:-1]) + len(parts[-1]) > longest:
            return False
        return self.form != "v7" or (
            entry.kind in "fdlh" and max(entry.uid, entry.gid) <= OCTAL_MAX and
            max(len(entry.path), len(entry.link)) <= 100 and not self.tar.records_of(entry, b""))

    def real_length(self, parts):
        length = 0

        class Count(Needs):
            def into(self, directory, name, node):
                nonlocal length
                length += len(name) + 1
                return super().into(directory, name, node)

        self.tree.way(b"/".join(parts), Count(self.tree, self.used))
        return length

    def write(self, entry, data, how):
        dice, pieces = self.dice, how.pop("pieces", None)
        if pieces is not None:
            self.tar.add_sparse(entry, how["length"], pieces, dice.choice(tars.SPARSE_FORMS[self.form]))
            return
        if entry.kind == "f" and "kind" not in how:
            kinds = b"0" + b"\0" * self.has("types") + b"7" * (self.has("cont") and self.form != "v7")
            if len(kinds) > 1 and dice.random() < 0.1:
                how["kind"] = bytes([dice.choice(kinds)])
        if entry.kind == "d" and self.form == "v7":
            how["kind"] = b"\0"
        if entry.kind == "h" and self.sizes:
            records = self.tar.has_records or self.tar.records_of(entry, entry.path)
            if not records or self.has("link-size-pax"):
                how["size"] = dice.randrange(5000)
        how["binary"] = self.has("base256") and self.form != "v7" and dice.random() < 0.05
        how["always"] = dice.random() < 0.2
        self.tar.add(entry, data, **how)

    # ---- what an entry may say ----

    def time(self):
        dice, has = self.dice, self.has
        times = [0, 1, 1700000000, dice.randrange(2**31), 2**32 + 7, 2**31]
        times += [-86400, -1, -(2**31) + 5] * has("old-times") + [2**33 + 4] * has("far-times")
        seconds = dice.choice(times)
        part = dice.choice((0, 1, 999999999, dice.randrange(10**9))) if self.form == "pax" else 0
        nanoseconds = seconds * 10**9 + part
        if -(10**9) < nanoseconds < 0 and not has("subzero"):
            return -(10**9)
        return min(nanoseconds, 2**33 * 10**9) if has("far-times") else nanoseconds

    def xattrs(self, kind):
        dice, has, found = self.dice, self.has, {}
        if self.form != "pax" or kind == "h":
            return found
        if has("xattrs") and kind in "fd" and dice.random() < 0.3:
            names = ["user.a", "user.nul", "user.long.name"] + ["user.empty"] * has("empty-xattrs")
            for name in dice.sample(names, dice.randrange(1, 3)):
                size = 0 if name == "user.empty" else dice.choice((1, 5, 64, 300))
                found[name] = b"\0" * (name == "user.nul") + dice.randbytes(size)
        if has("caps") and kind == "f" and dice.random() < 0.15:
            found["security.capability"] = dice.choice(CAPABILITIES)
        if has("dropped-xattrs") and dice.random() < 0.1:
            name = dice.choice(("trusted.mine", "security.selinux"))
            found[name if kind in "fd" else "user.dropped"] = b"dropped"
        return found

    def entry(self, path, kind, **fields):
        dice = self.dice
        fields.setdefault("mode", 0o777 if kind == "l" else dice.choice(MODES))
        fields.setdefault("mtime", self.time())
        fields.setdefault("uid", dice.choice(OWNERS))
        fields.setdefault("gid", dice.choice(OWNERS))
        fields.setdefault("xattrs", self.xattrs(kind))
        if self.form == "v7" and max(fields["uid"], fields["gid"]) > OCTAL_MAX and kind != "h":
            fields["uid"] = fields["gid"] = 7
        path = self.prefix + path
        if kind == "d" and (self.form == "v7" or dice.random() < 0.8):
            path += b"/"
        return model.Entry(path, kind, **fields)

    # ---- where ----

    def a_name(self):
        if self.has("odd-names") and self.dice.random() < 0.15:
            return self.dice.choice(ODD_NAMES)
        return self.dice.choice(NAMES)

    def a_directory(self):
        """The path of a directory that is there, as like as not through a symlink, and its node."""
        dice, path, node = self.dice, [], self.tree.root
        for _ in range(dice.choice((0, 0, 1, 1, 2, 3, 5))):
            names = [name for name, child in node.children.items() if child.kind in "dl"]
            if not names:
                break
            name = dice.choice(names)
            try:
                below = self.tree.look(b"/".join(path + [name]))
            except model.Refused:
                break
            if below is None:
                break
            path, node = path + [name], below
        return b"/".join(path), node

    def a_path(self):
        """Of something that is there, or is not."""
        dice = self.dice
        path, node = self.a_directory()
        if dice.random() < 0.1:
            extra = [self.a_name() for _ in range(dice.choice((1, 1, 2, 3)))]
            if self.has("long") and dice.random() < 0.2:
                extra = [dice.choice(b"xyz").to_bytes(1, "big") * dice.choice((9, 100, 255))
                         for _ in range(dice.choice((4, 7)))]
            path, node = b"/".join(([path] if path else []) + extra), None
        if dice.random() < 0.05 and self.has("dotdot"):
            path += b"/.."
            node = None
        if self.has("longest") and dice.random() < 0.02:
            return self.the_longest(path)
        name = self.a_name()
        if node is not None and node.children and dice.random() < 0.4:
            name = dice.choice(list(node.children))
            if node.children[name].children and dice.random() < 0.8:
                name += b"/" + self.a_name()
        return path + b"/" * bool(path) + name

    def the_longest(self, path):
        """In a directory, as long as a path can be, or a little shorter."""
        room = PATH_MAX - len(self.prefix) - len(path) - bool(path) - self.dice.choice((0, 0, 1, 300))
        names = []
        while room > 0:
            # What is left for the next one is enough for a slash and a byte, or nothing.
            size = room if room <= NAME_MAX else min(NAME_MAX, room - 2)
            names.append(b"z" * size)
            room -= size + 1
        return path + b"/" * bool(path) + b"/".join(names)

    def a_target(self, path):
        """What a symlink says."""
        dice = self.dice
        there, _ = self.a_directory()
        if dice.random() < 0.3:
            there += b"/" * bool(there) + self.a_name()
        up = b"../" * len(model.parts_of(path)[:-1])
        odd = (b".", b"/", b"..", b"a", b"//usr//bin/.", b"../../../../usr", b"nowhere/at/all",
               b"t" * 200, b"./a/./b/../c")
        odd += (b"\xff\n", b"u/" * 30 + b"v" * 255) if self.has("odd-names") else ()
        return dice.choice((up + there or b".", b"/" + there, up + b"../../" + there, there or b".", there or b"/",
                            dice.choice(odd)))

    # ---- entries by kind ----

    def add_file(self, path):
        dice, how = self.dice, {}
        size = dice.choice((0, 0, 1, 100, 511, 512, 513, 4096, dice.randrange(9000), dice.randrange(70000)))
        data = (dice.randbytes(16) * (size // 16 + 1))[:size]
        entry = self.entry(path, "f")
        if self.has(SPARSE.get(self.form)) and dice.random() < 0.15:
            pieces, data = self.holes()
            how = {"pieces": pieces, "length": len(data)}
        elif self.has("slash-file") and self.form in SLASHED and len(entry.path) < 100 and dice.random() < 0.02:
            entry.kind, entry.path, data = "d", entry.path + b"/", b""
            how["kind"] = b"0"
            self.offer(entry, **how)
            return
        entry.size, entry.sha256 = len(data), hashlib.sha256(data).hexdigest()
        self.offer(entry, data, **how)

    def holes(self):
        """Pieces of a sparse file, and all of it."""
        dice, pieces, whole = self.dice, [], bytearray()
        for _ in range(dice.choice((0, 1, 2, 3, 4, 5, 25, 26, 60))):
            whole += b"\0" * 512 * dice.randrange(1, 40)
            piece = dice.randbytes(8) * 64 * dice.randrange(1, 4)
            pieces.append((len(whole), piece))
            whole += piece
        if not pieces or dice.random() < 0.5:
            whole += b"\0" * dice.randrange(5000)
            pieces.append((len(whole), b""))
        else:
            last = pieces[-1][1][: -dice.randrange(1, 512)]
            pieces[-1] = (pieces[-1][0], last)
            del whole[pieces[-1][0] + len(last) :]
        return pieces, bytes(whole)

    def add_dir(self, path):
        self.offer(self.entry(path, "d"))

    def add_symlink(self, path):
        self.offer(self.entry(path, "l", link=self.a_target(path)))

    def add_node(self, path):
        dice, kind = self.dice, self.dice.choice("cbp")
        device = (dice.choice((1, 7, 259, 4095)), dice.choice((3, 0, 300, 1048575)))
        if kind == "c" and dice.random() < 0.1:
            device = (0, 0)
        self.offer(self.entry(path, kind, device=(0, 0) if kind == "p" else device))

    def add_link(self, path):
        dice = self.dice
        where, directory = self.a_directory()
        names = [name for name, node in directory.children.items() if node.kind != "d"]
        if self.dice.random() < 0.7:  # links within a layer are the usual ones
            names = [name for name in names if directory.by[name] == self.number] or names
        if not names:
            return
        name = dice.choice(names)
        target = where + b"/" * bool(where) + name
        node = directory.children[name]
        link = dice.choice((target, target, b"/" + target, b"./" + target, b"../../" + target,
                            where + b"/../" * bool(where) + target if b"/" not in where else target))
        said = {"mode": node.mode, "uid": node.uid, "gid": node.gid, "mtime": node.mtime}
        if self.has("link-metadata") and dice.random() < 0.3:
            said = {}
        said["xattrs"] = {} if not said else dict(node.xattrs)
        self.offer(self.entry(path, "h", link=link, **said))

    def add_whiteout(self):
        dice = self.dice
        path, directory = self.a_directory()
        if dice.random() < 0.05:
            path, directory = path + b"/" * bool(path) + self.a_name(), None
        name = self.a_name()
        if directory is not None and directory.children and dice.random() < 0.7:
            name = dice.choice(list(directory.children))
            if directory.children[name].children and dice.random() < 0.6:
                name = self.a_name()
        mark = b".wh." + name
        if dice.random() < (0.25 if path else 0.02):
            mark = b".wh..wh..opq"
        elif self.has("aufs") and dice.random() < 0.1:
            path, mark = b"", dice.choice((b".wh..wh.plnk", b".wh..wh.aufs"))
        self.offer(self.entry(path + b"/" * bool(path) + mark, "f", xattrs={}, size=0,
                              sha256=hashlib.sha256().hexdigest()))

    # ---- a layer ----

    def foundation(self):
        """A base as distributions have them, with owners and modes that are worth keeping."""
        for path in (b"usr", b"usr/bin", b"usr/lib", b"etc"):
            self.add_dir(path)
        for path, link in ((b"bin", b"usr/bin"), (b"lib", b"/usr/lib"), (b"usr/c", b"../bin"),
                           (b"d", b"../../lib"), (b"opt", b"usr/bin"), (b"etc/b", b"/opt"), (b"etc/c", b"/bin")):
            self.offer(self.entry(path, "l", link=link))
        for path in (b"usr/bin/a", b"usr/lib/b", b"etc/a"):
            self.add_file(path)

    def fill(self):
        dice = self.dice
        kinds = [self.add_dir] * 3 + [self.add_file] * 4 + [self.add_symlink] * 2 + [self.add_node, self.add_link]
        if self.has("global") and self.form == "pax" and dice.random() < 0.1:
            self.tar.pax([("comment", b"of no account")], b"g")
        if dice.random() < 0.5:
            entry = self.entry(b"", "d")
            entry.path = dice.choice((b"./", b"/") if self.form == "v7" else (b"./", b"/", b".", b"./."))
            self.offer(entry)
        if self.number == 1 and dice.random() < 0.6:
            self.foundation()
        for _ in range(dice.randrange(3, 60)):
            if dice.random() < (0.05 if self.number == 1 else 0.2):
                self.add_whiteout()
            else:
                dice.choice(kinds)(self.a_path())
        self.finish()

    def finish(self):
        dice, tar = self.dice, self.tar
        self.starts.append(len(tar.out))
        if self.has("no-end") and dice.random() < 0.1:
            self.data = bytes(tar.out)
        else:
            tar.end(dice.choice((2, 2, 2, 3, 18)))
            if self.has("garbage") and dice.random() < 0.15:
                tar.out += dice.randbytes(dice.choice((1, 512, 700, 10240)))
            self.data = bytes(tar.out)


class Stack:
    """data: the tars, lowest first. tree: what they say. met: the features that are in them."""

    def __init__(self, seed, features):
        self.dice, self.features = random.Random(seed), frozenset(features)
        self.tree, self.met, self.layers = model.Tree(), set(), []
        for number in range(1, self.dice.choice((1, 2, 2, 3, 3, 4, 5, 6)) + 1):
            layer = Layer(self, number)
            layer.fill()
            self.layers.append(layer)
        self.data = [layer.data for layer in self.layers]
