#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# truth.py model LAYOUT [REF]       the tree an image's tars say, as tests/tools/treels would list it
# truth.py random SEED DIRECTORY    writes 1.tar, 2.tar, ...: layers that create, change and delete; odd
#                                   seeds also name things twice
#
# The model is the specification (OCI image-spec, layer.md) at its plainest: layers lowest first; in
# each the whiteouts, which act on what lies beneath, then the entries in their order. It shares nothing
# with what it judges: Python's tarfile reads, a dictionary a directory is the tree, no file is written.
# A directory that no entry describes is root's, 0755, of time 0: no specification says so, umoci does
# it too. Counts of links (nlink) are left out.
import gzip
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile


def quote(raw):
    """Bytes as one printable word."""
    return "".join(chr(c) if 32 < c < 127 and c != 92 else "\\%03o" % c for c in raw)


class Node:
    def __init__(self, kind, **fields):
        self.kind, self.mode, self.uid, self.gid, self.mtime = kind, 0o755, 0, 0, 0
        self.size, self.sha256, self.target, self.device, self.xattrs = 0, "", b"", (0, 0), {}
        self.children = {} if kind == "d" else None
        self.__dict__.update(fields)


def line(path, node, first):
    words = [quote(path), node.kind]
    if node.kind != "l":
        words.append("%04o" % node.mode)
    words += ["%d:%d" % (node.uid, node.gid), "mtime=%d.%09d" % divmod(node.mtime, 10**9)]
    if first != path:
        words.append("same=" + quote(first))
    if node.kind == "f":
        words += ["size=%d" % node.size, "sha256=" + node.sha256]
    elif node.kind == "l":
        words.append("to=" + quote(node.target))
    elif node.kind in "cb":
        words.append("dev=%d:%d" % node.device)
    xattrs = sorted((os.fsencode(k), v) for k, v in node.xattrs.items())
    return " ".join(words + [quote(k) + "=" + v.hex() for k, v in xattrs])


def print_tree(root):
    """`root` and everything in it, each directory's names sorted by their bytes."""
    first = {}

    def walk(path, node):
        if node.kind != "d":
            first.setdefault(node, path)
        print(line(path, node, first.get(node, path)))
        for name in sorted(node.children or {}):
            walk(path + b"/" + name, node.children[name])

    walk(b".", root)


# ---- the tree that tars say ----


def lookup(root, path, make=False, follow=True):
    """The directory that `path` leads to, symlinks resolved inside the root; None: there is none."""
    trail, depth = [root], 0
    parts = [p for p in path.split(b"/") if p not in (b"", b".")]
    while parts:
        name = parts.pop(0)
        if name == b"..":
            trail = trail[:-1] or [root]
            continue
        node = trail[-1].children.get(name)
        if node is not None and node.kind == "l" and follow:
            depth += 1
            if depth > 40:
                raise OSError("too many symlinks: %r" % path)
            if node.target.startswith(b"/"):
                trail = [root]
            parts = [p for p in node.target.split(b"/") if p not in (b"", b".")] + parts
            continue
        if node is None or node.kind != "d":
            if not make:
                return None
            node = trail[-1].children[name] = Node("d")
        trail.append(node)
    return trail[-1]


def split(raw):
    parts = [p for p in raw.split(b"/") if p not in (b"", b".")]
    return (b"/".join(parts[:-1]), parts[-1]) if parts else (b"", b"")


def nanoseconds(info):
    whole, _, part = info.pax_headers.get("mtime", "%d" % info.mtime).partition(".")
    part = int((part + "0" * 9)[:9])
    return int(whole) * 10**9 + (-part if whole.startswith("-") else part)


def kept_xattrs(info):
    for key, value in info.pax_headers.items():
        name = key.removeprefix("SCHILY.xattr.")
        if name != key and not name.startswith("trusted.") and name != "security.selinux":
            yield name, os.fsencode(value)


def describe(node, info):
    """Owner, mode, time and extended attributes, as the entry says."""
    node.mode, node.uid, node.gid = info.mode & 0o7777, info.uid, info.gid
    node.mtime, node.xattrs = nanoseconds(info), dict(kept_xattrs(info))


def entry_node(tar, info):
    if info.isdir():
        return Node("d")
    if info.issym():
        return Node("l", target=os.fsencode(info.linkname))
    if info.isfifo():
        return Node("p")
    if info.ischr() or info.isblk():
        return Node("c" if info.ischr() else "b", device=(info.devmajor, info.devminor))
    sha, size = hashlib.sha256(), 0
    with tar.extractfile(info) as file:
        while block := file.read(1 << 20):
            sha.update(block)
            size += len(block)
    return Node("f", size=size, sha256=sha.hexdigest())


def apply_whiteout(root, where, name, follow):
    directory = lookup(root, where, follow=follow)
    if directory is None:
        return
    if name == b".wh..wh..opq":
        directory.children.clear()
    elif not name.startswith(b".wh..wh."):
        directory.children.pop(name[len(b".wh."):], None)


def apply_entry(root, tar, info):
    where, name = split(os.fsencode(info.name))
    if not name:
        describe(root, info)
        return
    directory = lookup(root, where, make=True)
    if info.islnk():
        to, link = split(os.fsencode(info.linkname))
        directory.children[name] = lookup(root, to).children[link]
        return
    node = entry_node(tar, info)
    there = directory.children.get(name)
    if there is not None and there.kind == node.kind == "d":
        node = there
    describe(node, info)
    directory.children[name] = node


def apply_layer(root, data):
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        members = [(split(os.fsencode(info.name)), info) for info in tar.getmembers()]
        # Where this layer makes a directory, a symlink beneath it leads nowhere.
        made = {b"/".join(p for p in (where, name) if p) for (where, name), info in members if info.isdir()}
        for (where, name), _ in members:
            if name.startswith(b".wh."):
                apply_whiteout(root, where, name, where not in made)
        for (_, name), info in members:
            if not name.startswith(b".wh."):
                apply_entry(root, tar, info)


def inflated(data):
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout
    return data


def image_layers(layout, reference):
    def blob(digest):
        with open(os.path.join(layout, "blobs", *digest.split(":")), "rb") as file:
            return file.read()

    with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
        manifests = json.load(file)["manifests"]
    if reference:
        key = "org.opencontainers.image.ref.name"
        manifests = [m for m in manifests if m.get("annotations", {}).get(key) == reference]
    [manifest] = manifests
    for descriptor in json.loads(blob(manifest["digest"]))["layers"]:
        yield inflated(blob(descriptor["digest"]))


def model(layout, reference=None):
    root = Node("d")
    for data in image_layers(layout, reference):
        apply_layer(root, data)
    return root


# ---- layers by chance ----


class RandomLayer:
    """A tar of one layer, in which each directory has its entry before what is in it. `twice`: names
    may come again."""

    NAMES = ("a", "b", "c", "d", "e e", "f\u00e9", "g" * 120)
    KINDS = [tarfile.DIRTYPE, tarfile.REGTYPE] * 3 + [
        tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.LNKTYPE,
    ]

    def __init__(self, dice, path, twice):
        self.dice, self.twice = dice, twice
        self.here = {"": tarfile.DIRTYPE}  # what this layer holds: path -> type
        formats = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
        self.tar = tarfile.open(path, "w", format=dice.choice(formats))

    def name_in(self, directory):
        return (directory + "/" if directory else "") + self.dice.choice(self.NAMES)

    def info(self, path, kind):
        dice = self.dice
        info = tarfile.TarInfo(dice.choice(("", "", "./")) + path)
        info.type, info.mode = kind, dice.choice((0o644, 0o755, 0o600, 0o1777, 0o4755, 0o2750, 0))
        info.uid, info.gid = dice.choice((0, 0, 1000, 3000000)), dice.choice((0, 0, 12, 4294967290))
        info.mtime = dice.choice((0, 1, -86400, dice.randrange(2**31), 2**32 + 7))
        if self.tar.format == tarfile.PAX_FORMAT:
            info.pax_headers["mtime"] = "%d.%09d" % (max(info.mtime, 0), dice.randrange(10**9))
            if kind in (tarfile.REGTYPE, tarfile.DIRTYPE) and dice.random() < 0.3:
                info.pax_headers["SCHILY.xattr.user.chance"] = "%x" % dice.randrange(2**32)
        return info

    def put(self, path, info, data=b""):
        info.size = len(data)
        self.tar.addfile(info, io.BytesIO(data))
        for below in [p for p in self.here if p.startswith(path + "/")]:
            if info.type != tarfile.DIRTYPE:
                del self.here[below]
        self.here[path] = info.type

    def directories(self):
        return sorted(p for p, kind in self.here.items() if kind == tarfile.DIRTYPE)

    def add(self):
        dice = self.dice
        kind = dice.choice(self.KINDS)
        path, links = self.name_in(dice.choice(self.directories())), self.linkable()
        if path in self.here and not self.may_replace(path, kind):
            return
        if kind == tarfile.LNKTYPE and not [link for link in links if link != path]:
            return
        info, data = self.info(path, kind), b""
        if kind == tarfile.REGTYPE:
            data = b"%d" % dice.randrange(100) * dice.randrange(400)
        elif kind == tarfile.SYMTYPE:
            info.linkname = dice.choice(("a", "/a/b", "../c", "t" * 130))
        elif kind == tarfile.LNKTYPE:
            info.linkname = dice.choice([link for link in links if link != path])
            info.pax_headers = {}
        elif kind == tarfile.CHRTYPE:
            info.devmajor, info.devminor = 1, dice.randrange(3, 9)
        self.put(path, info, data)

    def may_replace(self, path, kind):
        """A directory that was something else in the same layer, or the reverse, is no one's layer."""
        return self.twice and (self.here[path] == tarfile.DIRTYPE) == (kind == tarfile.DIRTYPE)

    def linkable(self):
        return sorted(p for p, kind in self.here.items() if kind not in (None, tarfile.DIRTYPE))

    def delete(self):
        """A whiteout or an opaque marker; nothing is deleted that this layer made."""
        where = self.dice.choice(self.directories())
        name = self.name_in(where)
        if self.dice.random() < 0.2 and where:
            mark = where + "/.wh..wh..opq"
            if mark in self.here:
                return
            self.here[mark] = None
        elif name not in self.here:
            mark = where + "/" * bool(where) + ".wh." + name.rpartition("/")[2]
            self.here[name] = None
        else:
            return
        self.tar.addfile(tarfile.TarInfo(mark))

    def fill(self):
        if self.dice.random() < 0.5:
            self.put("", self.info("./", tarfile.DIRTYPE))
        for _ in range(self.dice.randrange(10, 60)):
            self.delete() if self.dice.random() < 0.15 else self.add()
        self.tar.close()


def write_random(seed, directory):
    dice = random.Random(seed)
    for number in range(1, dice.randrange(2, 7)):
        RandomLayer(dice, os.path.join(directory, "%d.tar" % number), seed % 2).fill()


def main():
    sys.setrecursionlimit(20000)
    command, *arguments = sys.argv[1:]
    if command == "model":
        print_tree(model(*arguments))
    elif command == "random":
        write_random(int(arguments[0]), arguments[1])
    else:
        sys.exit("truth.py: %s is neither model nor random" % command)


if __name__ == "__main__":
    main()
