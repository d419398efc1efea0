# SPDX-License-Identifier: Apache-2.0
"""model: the tree that an image's tars say, read from them at their plainest.

One directory, and the entries one after the other: what a mounted filesystem would show if each layer
were unpacked onto it. It shares nothing with what it judges: Python's tarfile reads, a dictionary a
directory is the tree, no file is written. The rules, where OCI image-spec layer.md leaves a choice:

 - a path is followed as the kernel would follow it inside the root: through symlinks, whichever layer
   made them, and ".." after them; what is missing on the way is made (whiteouts do that too);
 - a directory that no entry describes ("implied") keeps what the layers beneath say of it: owner, mode,
   time, xattrs. Where they have none, it is root's, 0755, of time 0;
 - a path through something that is no directory: in a lower layer, a directory takes its place; in the
   same layer it is an error;
 - whiteouts and opaque markers act on what lower layers put there, not on names that this layer has
   made so far or makes later. A directory that this layer only implied, and whose counterpart is
   hidden, is a new one; an opaque marker says nothing about its own directory;
 - a hard link is one more name of the inode, whichever layer that is from; what its header says of
   owner, mode and time is not looked at;
 - a later entry of a name replaces the earlier one; a directory on a directory replaces owner, mode,
   time and xattrs only. A character device 0:0 is a whiteout of any layer's name.

Counts of links (nlink) are left out: in a stack of layers a deleted link still counts.
"""
import contextlib
import gzip
import hashlib
import json
import os
import subprocess
import tarfile

LINKS_MAX = 40
KEPT_XATTRS = ("user.", "security.capability", "security.ima")


class Refused(Exception):
    """No tree comes out of this archive."""


def quote(raw):
    """Bytes as one printable word, as tests/tools/treels prints them."""
    return "".join(chr(c) if 32 < c < 127 and c != 92 else "\\%03o" % c for c in raw)


class Entry:
    """What an archive says. kind: d f l c b p, and h for a hard link; time in nanoseconds."""

    def __init__(self, path, kind, **fields):
        self.path, self.kind = path, kind
        self.mode, self.uid, self.gid, self.mtime = 0o644, 0, 0, 0
        self.size, self.sha256, self.link, self.device, self.xattrs = 0, "", b"", (0, 0), {}
        self.__dict__.update(fields)


class Node:
    """An inode. `made`, `described`, `changed`: the layer that made it, whose entry it last had, and that
    last added or removed a name in it. `piled`: the xattrs of all entries a directory had. `inherited`: the
    group that a kernel gives an implied directory in one with the setgid bit, but in the root."""

    def __init__(self, kind, layer=0):
        self.kind, self.mode, self.uid, self.gid, self.mtime = kind, 0o755, 0, 0, 0
        self.size, self.sha256, self.target, self.device, self.xattrs = 0, "", b"", (0, 0), {}
        self.children = {} if kind == "d" else None
        self.by = {} if kind == "d" else None  # name -> the last layer that spoke of it
        self.made, self.described, self.changed, self.piled, self.inherited = layer, 0, 0, {}, 0

    def forget(self):
        """As if no entry had described it."""
        self.mode, self.uid, self.gid, self.mtime, self.xattrs, self.described = 0o755, 0, 0, 0, {}, 0


def parts_of(path):
    return [part for part in path.split(b"/") if part not in (b"", b".")]


class Tree:
    def __init__(self):
        self.root = Node("d")
        self.layer = 0

    # ---- names ----

    def way(self, path, step):
        """The directories on the way of `path`, root first; None where step.into() gave none."""
        trail, links, parts = [self.root], 0, parts_of(path)
        while parts:
            name = parts.pop(0)
            if name == b"..":
                step.up()
                trail = trail[:-1] or [self.root]
                continue
            node = trail[-1].children.get(name)
            if node is not None and node.kind == "l":
                links += 1
                if links > LINKS_MAX:
                    raise Refused("too many symlinks: %r" % path)
                step.follow(trail[-1], name, node)
                trail = [self.root] if node.target.startswith(b"/") else trail
                parts = parts_of(node.target) + parts
                continue
            node = step.into(trail[-1], name, node)
            if node is None:
                return None
            trail.append(node)
        return trail

    def look(self, path):
        """The directory that a path leads to, or None."""
        trail = self.way(path, Look)
        return trail and trail[-1]

    def up(self):
        pass

    def follow(self, directory, name, node):
        pass

    def into(self, directory, name, node):
        """A step of one who makes what is missing."""
        if node is not None and node.kind != "d":
            if directory.by[name] == self.layer:
                raise Refused("%r is not a directory" % name)
            node = None
        if node is None:
            node = self.put(directory, name, Node("d", self.layer))
            node.inherited = directory.gid if directory.mode & 0o2000 and directory is not self.root else 0
        directory.by[name] = self.layer
        return node

    def put(self, directory, name, node):
        directory.children[name], directory.by[name] = node, self.layer
        directory.changed = self.layer
        return node

    def remove(self, directory, name):
        del directory.children[name], directory.by[name]
        directory.changed = self.layer

    # ---- whiteouts ----

    def hide(self, directory):
        """What lower layers put into a directory goes."""
        for name, node in list(directory.children.items()):
            if directory.by[name] != self.layer:
                self.remove(directory, name)
            elif node.kind == "d":
                self.hide_directory(node)

    def hide_directory(self, node):
        if node.made != self.layer and node.described != self.layer:
            node.forget()
        self.hide(node)

    def whiteout(self, directory, name):
        node = directory.children.get(name)
        if node is None:
            return
        if directory.by[name] != self.layer:
            self.remove(directory, name)
        elif node.kind == "d":
            self.hide_directory(node)

    # ---- entries ----

    def describe(self, node, entry):
        node.mode, node.uid, node.gid, node.mtime = entry.mode, entry.uid, entry.gid, entry.mtime
        kept = entry.xattrs.items() if node.kind in "fd" else ()
        node.xattrs = {name: value for name, value in kept if name.startswith(KEPT_XATTRS)}
        node.piled = {**node.piled, **node.xattrs}
        node.described = self.layer

    def node_of(self, entry):
        node = Node(entry.kind, self.layer)
        node.size, node.sha256, node.target = entry.size, entry.sha256, entry.link
        node.device = entry.device
        return node

    def linked(self, entry):
        """The directory and the name that a hard link leads to."""
        parts = parts_of(entry.link)
        directory = self.look(b"/".join(parts[:-1])) if parts else None
        node = directory and directory.children.get(parts[-1])
        if node is None or node.kind == "d":
            raise Refused("a hard link to %r" % entry.link)
        return directory, parts[-1]

    def apply_to(self, directory, name, entry):
        there = directory.children.get(name)
        if entry.kind == "h":
            where, to = self.linked(entry)
            self.put(directory, name, where.children[to])
        elif entry.kind == "c" and entry.device == (0, 0):
            if there is not None:
                self.remove(directory, name)
        elif entry.kind == "d" and there is not None and there.kind == "d":
            directory.by[name] = self.layer
            self.describe(there, entry)
        else:
            self.describe(self.put(directory, name, self.node_of(entry)), entry)

    def apply(self, entry):
        parts = parts_of(entry.path)
        if not parts:
            if entry.kind != "d":
                raise Refused("the root is a directory")
            self.describe(self.root, entry)
            return
        name = parts.pop()
        if any(part.startswith(b".wh..wh.") for part in parts):
            return
        if name == b".." or any(part.startswith(b".wh.") for part in parts):
            raise Refused("the name %r" % entry.path)
        hides = name.startswith(b".wh.")
        if hides and name.startswith(b".wh..wh.") and name != b".wh..wh..opq":
            return
        if name in (b".wh.", b".wh..", b".wh..."):
            raise Refused("a whiteout of nothing")
        directory = self.way(b"/".join(parts), self)[-1]
        if name == b".wh..wh..opq":
            self.hide(directory)
        elif hides:
            self.whiteout(directory, name[len(b".wh."):])
        else:
            self.apply_to(directory, name, entry)

    def apply_layer(self, entries):
        self.layer += 1
        for entry in entries:
            self.apply(entry)


class Look:
    """Steps of one who makes nothing."""

    up = follow = staticmethod(lambda *_: None)
    into = staticmethod(lambda directory, name, node: node if node is not None and node.kind == "d" else None)


# ---- listings ----


class Said:
    """The listing as the layers say it."""

    same = staticmethod(lambda node: True)
    group = staticmethod(lambda node: node.gid)
    time = staticmethod(lambda node, tree: "mtime=%d.%09d" % divmod(node.mtime, 10**9))
    xattrs = staticmethod(lambda node: node.xattrs)


def line(path, node, first, tree, view):
    words = [quote(path), node.kind]
    if node.kind != "l":
        words.append("%04o" % node.mode)
    words += ["%d:%d" % (node.uid, view.group(node)), view.time(node, tree)]
    if first != path and view.same(node):
        words.append("same=" + quote(first))
    if node.kind == "f":
        words += ["size=%d" % node.size, "sha256=" + node.sha256]
    elif node.kind == "l":
        words.append("to=" + quote(node.target))
    elif node.kind in "cb":
        words.append("dev=%d:%d" % node.device)
    xattrs = sorted((key.encode(), value) for key, value in view.xattrs(node).items())
    return " ".join(words + [quote(key) + "=" + value.hex() for key, value in xattrs])


def listing(tree, view=Said):
    """The lines of tests/tools/treels, each directory's names sorted by their bytes; no nlink."""
    first, lines, todo = {}, [], [(b".", tree.root)]
    while todo:
        path, node = todo.pop()
        if node.kind != "d":
            first.setdefault(node, path)
        lines.append(line(path, node, first.get(node, path), tree, view))
        for name in sorted(node.children or (), reverse=True):
            todo.append((path + b"/" + name, node.children[name]))
    return lines


# ---- archives ----


def raw(text):
    return text.encode("utf-8", "surrogateescape")


def nanoseconds(info):
    whole, _, part = info.pax_headers.get("mtime", "%d" % info.mtime).partition(".")
    part = int((part + "0" * 9)[:9])
    return int(whole) * 10**9 + (-part if whole.startswith("-") else part)


def kind_of(info):
    for kind in "dir sym lnk chr blk fifo".split():
        if getattr(info, "is" + kind)():
            return {"dir": "d", "sym": "l", "lnk": "h", "chr": "c", "blk": "b", "fifo": "p"}[kind]
    # As GNU tar and BSD's read it: a regular file with a slash at its end is a directory.
    return "d" if info.name.endswith("/") else "f"


def entry_of(tar, info):
    entry = Entry(raw(info.name), kind_of(info), mode=info.mode & 0o7777, uid=info.uid, gid=info.gid)
    entry.mtime, entry.link = nanoseconds(info), raw(info.linkname)
    for key, value in info.pax_headers.items():
        if key.startswith("SCHILY.xattr."):
            entry.xattrs[key.removeprefix("SCHILY.xattr.")] = raw(value)
    if entry.kind in "cb":
        entry.device = (info.devmajor, info.devminor)
    if entry.kind == "f":
        sha = hashlib.sha256()
        with tar.extractfile(info) as file:
            while block := file.read(1 << 20):
                sha.update(block)
                entry.size += len(block)
        entry.sha256 = sha.hexdigest()
    return entry


def entries_of(file):
    """The entries of a tar, which is read from its beginning to its end."""
    try:
        tar = tarfile.open(fileobj=file, mode="r|", errors="surrogateescape", encoding="utf-8")
    except tarfile.ReadError:
        if file.tell() == 0:  # nothing at all is an empty archive
            return
        raise
    with tar:
        for info in tar:
            yield entry_of(tar, info)
            tar.members = []


@contextlib.contextmanager
def inflated(path):
    """A layer's blob as a file to read: gzip, zstd or plain."""
    with open(path, "rb") as file:
        head = file.read(4)
        file.seek(0)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(file) as inner:
                yield inner
        elif head == b"\x28\xb5\x2f\xfd" or head[1:] == b"\x2a\x4d\x18":
            with subprocess.Popen(["zstd", "-dcq"], stdin=file, stdout=subprocess.PIPE) as zstd:
                yield zstd.stdout
                zstd.stdout.read()
            if zstd.returncode:
                raise OSError("%s: zstd failed" % path)
        else:
            yield file


def image_manifest(layout, reference=None):
    """The only manifest of a layout, or that of a tag."""
    with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
        manifests = json.load(file)["manifests"]
    if reference:
        key = "org.opencontainers.image.ref.name"
        manifests = [m for m in manifests if m.get("annotations", {}).get(key) == reference]
    [manifest] = manifests
    return manifest


def blob_path(layout, descriptor):
    return os.path.join(layout, "blobs", *descriptor["digest"].split(":"))


def document(layout, descriptor):
    with open(blob_path(layout, descriptor), "rb") as file:
        return json.load(file)


def image_tree(layout, reference=None):
    tree = Tree()
    for descriptor in document(layout, image_manifest(layout, reference))["layers"]:
        with inflated(blob_path(layout, descriptor)) as file:
            tree.apply_layer(entries_of(file))
    return tree
