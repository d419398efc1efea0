// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/pkg/system"
	"golang.org/x/sys/unix"
)

// ---- what a tree is ----

type looks struct {
	noLinks    bool // which names are one file is not compared
	noDirTimes bool
	noDirs     bool // directories are not compared: of those without an entry, moby's package makes 0600
}

// A listing has a line for each name: all that a tar of moby's carries, times in whole seconds.
func listing(root string, how looks) (map[string]string, error) {
	lines := map[string]string{}
	first := map[[2]uint64]string{}
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == root {
			return err
		}
		if info.IsDir() && how.noDirs {
			return nil
		}
		name := path[len(root)+1:]
		line, err := describe(path, info, how)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if !info.IsDir() && st.Nlink > 1 && !how.noLinks {
			key := [2]uint64{uint64(st.Dev), st.Ino}
			if other, ok := first[key]; ok {
				line += " same as " + other
			} else {
				first[key] = name
			}
		}
		lines[name] = line
		return nil
	})
	return lines, err
}

func describe(path string, info os.FileInfo, how looks) (string, error) {
	st := info.Sys().(*syscall.Stat_t)
	line := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
	if !info.IsDir() || !how.noDirTimes {
		line += fmt.Sprintf(" @%d", st.Mtim.Sec)
	}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		line += fmt.Sprintf(" %d %.6x", len(text), sha256.Sum256(text))
	case syscall.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		line += fmt.Sprintf(" -> %q", target)
	case syscall.S_IFCHR, syscall.S_IFBLK:
		line += fmt.Sprintf(" device %x", st.Rdev)
	}
	for _, name := range []string{"security.capability", "user.test"} {
		if value, err := system.Lgetxattr(path, name); err == nil && value != nil {
			line += fmt.Sprintf(" %s=%x", name, value)
		}
	}
	return line, nil
}

// How two listings differ, in a few words; nothing where they do not.
func difference(want, have map[string]string) string {
	names := map[string]bool{}
	for name := range want {
		names[name] = true
	}
	for name := range have {
		names[name] = true
	}
	var wrong []string
	for name := range names {
		if want[name] != have[name] {
			wrong = append(wrong, fmt.Sprintf("%q is [%s], should be [%s]", name, have[name], want[name]))
		}
	}
	sort.Strings(wrong)
	if len(wrong) > 6 {
		wrong = append(wrong[:6], fmt.Sprintf("and %d more", len(wrong)-6))
	}
	return strings.Join(wrong, "; ")
}

func (t *test) list(dir string, how looks) map[string]string {
	lines, err := listing(dir, how)
	t.must(err)
	return lines
}

// What a layer looks like where it is mounted.
func (t *test) tree(id string, how looks) map[string]string {
	dir := t.get(id)
	defer t.put(id)
	return t.list(dir, how)
}

func (t *test) sameTree(want, have map[string]string, format string, args ...interface{}) {
	if wrong := difference(want, have); wrong != "" {
		t.fatal("%s: %s", fmt.Sprintf(format, args...), wrong)
	}
}

// A copy of a layer as it is mounted, or an empty directory.
func (t *test) copyOf(id string) string {
	t.number++
	dir := filepath.Join(t.dir, fmt.Sprintf("copy-%d", t.number))
	t.must(os.Mkdir(dir, 0o755))
	if id != "" {
		said, err := exec.Command("cp", "-a", t.get(id)+"/.", dir).CombinedOutput()
		t.put(id)
		t.check(err == nil, "cp: %v: %s", err, said)
	}
	return dir
}

// ---- random trees ----

var capability = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// Makes and changes trees. Nothing that it changes can look as before: each change has a time of its own.
type gardener struct {
	*rand.Rand
	root  string
	seed  int64
	clock int64
	count int
}

func garden(seed int64, root string) *gardener {
	return &gardener{Rand: rand.New(rand.NewSource(seed)), root: root, seed: seed, clock: 1600000000 + seed%1000*100000}
}

// Names are such as tar and JSON have trouble with, too.
func (g *gardener) name() string {
	g.count++
	name := fmt.Sprintf("n%d-%d", g.seed, g.count)
	switch g.Intn(24) {
	case 0:
		name += "\xff\xfe"
	case 1:
		name += " a\nb\"'\\"
	case 2:
		name += strings.Repeat("l", 255-len(name))
	case 3:
		name += "äöü€"
	case 4:
		name = ".wx" + name
	}
	return name
}

// All of a kind that is there: 'd' with the root, 'f', 'l', 'o' for others, '-' for all but directories.
func (g *gardener) all(kind byte) []string {
	var paths []string
	filepath.Walk(g.root, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		is := byte('o')
		switch info.Mode() & os.ModeType {
		case os.ModeDir:
			is = 'd'
		case 0:
			is = 'f'
		case os.ModeSymlink:
			is = 'l'
		}
		if is == kind || (kind == '-' && is != 'd') {
			paths = append(paths, path)
		}
		return nil
	})
	return paths
}

func (g *gardener) one(kind byte) string {
	paths := g.all(kind)
	if len(paths) == 0 {
		return g.file(g.root)
	}
	return paths[g.Intn(len(paths))]
}

func (g *gardener) oneBelow() string { // a directory that is not the root
	paths := g.all('d')
	if len(paths) < 2 {
		return g.mkdir(g.root)
	}
	return paths[1+g.Intn(len(paths)-1)]
}

func must(err error) {
	if err != nil {
		panic(failure{err.Error()})
	}
}

func (g *gardener) touch(path string) string {
	g.clock++
	when := unix.NsecToTimespec(g.clock*int64(time.Second) + 1 + g.Int63n(999999999))
	must(unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW))
	return path
}

func (g *gardener) file(dir string) string {
	path := filepath.Join(dir, g.name())
	text := make([]byte, g.Intn(3000))
	g.Read(text)
	must(os.WriteFile(path, text, os.FileMode(0o400|g.Intn(0o777))))
	return g.touch(path)
}

func (g *gardener) mkdir(dir string) string {
	path := filepath.Join(dir, g.name())
	must(os.Mkdir(path, os.FileMode(0o700|g.Intn(0o777))))
	for n := g.Intn(4); n > 0; n-- {
		g.file(path)
	}
	return path
}

func (g *gardener) symlink(dir string) string {
	path := filepath.Join(dir, g.name())
	must(os.Symlink([]string{"nowhere", "/etc/passwd", "./a/b", "."}[g.Intn(4)], path))
	return g.touch(path)
}

// No block devices: moby's comparison takes them for directories (it looks at one bit of S_IFMT).
func (g *gardener) special(dir string) string {
	path := filepath.Join(dir, g.name())
	if g.Intn(2) == 0 {
		must(unix.Mkfifo(path, 0o600))
	} else {
		must(unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, uint32(1+g.Intn(9))))))
	}
	return g.touch(path)
}

func (g *gardener) plant(n int) {
	makers := []func(string) string{g.file, g.file, g.file, g.mkdir, g.mkdir, g.symlink, g.special}
	for ; n > 0; n-- {
		makers[g.Intn(len(makers))](g.one('d'))
		if g.Intn(8) == 0 {
			g.link(g.one('f'))
		}
	}
}

func (g *gardener) link(path string) {
	other := filepath.Join(g.one('d'), g.name())
	must(os.Link(path, other))
	g.touch(other)
}

func (g *gardener) retype(path string) {
	dir := filepath.Dir(path)
	makers := []func(string) string{g.file, g.mkdir, g.symlink, g.special}
	made := makers[g.Intn(len(makers))](dir)
	must(os.RemoveAll(path))
	if err := os.Rename(made, path); err != nil {
		must(err)
	}
}

// A directory goes, and one of the same name comes, with some of the names that were in it.
func (g *gardener) again(path string) {
	entries, err := os.ReadDir(path)
	must(err)
	must(os.RemoveAll(path))
	must(os.Mkdir(path, 0o750))
	for _, entry := range entries {
		if g.Intn(3) == 0 {
			must(os.WriteFile(filepath.Join(path, entry.Name()), []byte("again"), 0o640))
			g.touch(filepath.Join(path, entry.Name()))
		}
	}
	g.plantIn(path)
}

func (g *gardener) plantIn(dir string) {
	for n := g.Intn(3); n > 0; n-- {
		g.file(dir)
	}
}

func (g *gardener) change(n int) {
	steps := []func(){
		func() { g.file(g.one('d')) },
		func() { g.mkdir(g.one('d')) },
		func() { g.symlink(g.one('d')) },
		func() { g.special(g.one('d')) },
		func() { g.link(g.one('f')) },
		func() { g.append(g.one('f')) },
		func() { path := g.one('f'); must(os.Truncate(path, int64(g.Intn(5000)))); g.touch(path) },
		func() { path := g.one('f'); must(os.Chmod(path, os.FileMode(0o400|g.Intn(0o777)))); g.touch(path) },
		func() { g.touch(g.one('-')) },
		func() { path := g.one('-'); must(os.Lchown(path, g.Intn(5000), g.Intn(70000))); g.touch(path) },
		func() {
			path := g.one('f')
			must(unix.Lsetxattr(path, "security.capability", capability, 0))
			g.touch(path)
		},
		func() { must(os.Chmod(g.oneBelow(), os.FileMode(0o700|g.Intn(0o077))|os.ModeSticky)) },
		func() { must(os.Lchown(g.oneBelow(), g.Intn(5000), g.Intn(5000))) },
		func() { must(os.Remove(g.one('-'))) },
		func() { must(os.Remove(g.one('-'))) },
		func() { must(os.RemoveAll(g.oneBelow())) },
		func() { g.retype(g.one('-')) },
		func() { g.retype(g.oneBelow()) },
		func() { g.again(g.oneBelow()) },
		func() {
			path := g.one('f')
			to := filepath.Join(g.one('d'), g.name())
			must(os.Rename(path, to))
			g.touch(to)
		},
	}
	for ; n > 0; n-- {
		steps[g.Intn(len(steps))]()
	}
}

func (g *gardener) append(path string) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(err)
	_, err = io.WriteString(file, "more")
	must(err)
	must(file.Close())
	g.touch(path)
}

// A chain of layers that were changed at random, each on the one before.
func (t *test) randomChain(seed int64, depth int) []string {
	base := t.create(t.name(), "")
	garden(seed*100, t.get(base)).plant(120)
	t.put(base)
	chain := []string{base}
	for i := 1; i < depth; i++ {
		id := t.create(t.name(), chain[i-1])
		garden(seed*100+int64(i), t.get(id)).change(40)
		t.put(id)
		chain = append(chain, id)
	}
	return chain
}
