# SPDX-License-Identifier: Apache-2.0
#
# overlaid
#
#   make                  the library and the program, in build/<compiler>-<sanitizers>/
#   make check            installs what the tests need and is missing, builds, runs every test
#   make check-unit       only the unit tests               make check-integration   only the bats tests
#   make check-fuzz       only the fuzz targets, on the inputs in tests/fuzz/corpus
#   make check-runtimes   containerd and Docker of Debian 13 with our snapshotter (needs root; makes that Debian
#                         once, in build/trixie, or takes the one in TRIXIE=DIR)
#   make runtimes-tools   the tests' own clients of containerd, of the snapshotter and of the graphdriver (needs go)
#   make fuzz             the fuzz targets, on inputs that libFuzzer makes up (needs clang)
#   make lint             layers, headers, lengths, clang-format, cppcheck, clang-tidy
#   make demo             from Debian packages to a command in a mounted image (needs root)
#   make bench            commands and unpacking beside others' (needs root; makes 4 GB of images, once)
#   make bench-pull       pulls from a registry on loopback beside podman, docker and ctr: a table for README
#   make install          program, library, overlaid.h, overlaid.pc: DESTDIR, prefix, bindir, libdir,
#                         libexecdir, includedir
#   make setup            installs what building and testing need
#   make clean            removes build/, but for the images of tests and benchmarks and build/trixie
#
# Say more with variables:
#   SAN=address,undefined (or thread)       sanitizers; has its own build directory, as each CC has
#   WERROR=1                                warnings are errors
#   STRICT=1                                make check: a skipped test is a failed test
#   TESTS="tests/integration/x.bats ..."    make check: only these (unit tests by source: tests/unit/x_test.c)
#   JOBS=2                                  make check: test programs side by side
#   FUZZ="tar pax ..." SECONDS=600          make fuzz: only these, CPU time for each; MERGE=1 then makes
#                                           their tests/fuzz/corpus anew, of what was found
#   BENCH="tests/bench/x ..." ARGS="..."    make bench: only these; arguments for them, or for make bench-pull
#   V=1                                     shows the commands
#   STATIC=                                 the program linked with shared libraries only
#   CC, CFLAGS, CPPFLAGS, LDFLAGS           yours, added after ours

VERSION = 0.1.0
MAJOR = $(firstword $(subst ., ,$(VERSION)))

prefix = /usr/local
bindir = $(prefix)/bin
libdir = $(prefix)/lib
libexecdir = $(prefix)/libexec/overlaid
includedir = $(prefix)/include
INSTALL = install

ifeq ($(origin CC),default)
CC = $(if $(filter fuzz,$(MAKECMDGOALS)),clang,gcc)
endif
ifneq ($(filter fuzz,$(MAKECMDGOALS)),)
SAN ?= fuzzer-no-link,address,undefined
endif
ifeq ($(origin AR),default)
AR = ar
endif
OBJCOPY ?= objcopy
CFLAGS ?= $(if $(SAN),-O1 -g,-O2 -g)

comma := ,
B := build/$(notdir $(firstword $(CC)))-$(if $(SAN),$(subst $(comma),+,$(SAN)),none)

# $(call say,WORD): the command itself is shown with V=1, else a short line.
say = $(if $(V),,@printf '  %-5s %s\n' $(1) '$(if $(2),$(2),$@)';)

# ---- flags ----

warnings := -Wall -Wextra -Wno-unused-parameter -Wmissing-prototypes -Wstrict-prototypes \
	-Wold-style-definition -Wshadow -Wpointer-arith -Wundef -Wvla -Wwrite-strings \
	-Wformat-security $(if $(WERROR),-Werror)
# gcc's guesses about the lengths of strings that snprintf joins; clang has no such warning.
warnings += $(if $(findstring clang,$(CC)),,-Wno-format-truncation)
sanitize := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
optimised := $(filter -O1 -O2 -O3 -Os -Og,$(CFLAGS))
fortify := $(if $(SAN),,$(if $(optimised),-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2))

cflags = -std=gnu11 -fPIC -pthread -fstack-protector-strong $(warnings) $(sanitize) \
	-I. -I$(B) -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DOVERLAID_VERSION='"$(VERSION)"' \
	-include driver/base/banned.h $(fortify) $(CPPFLAGS) $(CFLAGS)
ldflags = -pthread -Wl,-O1,--as-needed,--hash-style=gnu,-z,relro,-z,now $(sanitize) $(LDFLAGS)

# Linked; libarchive, libcrypto, libmount, libzstd, libisal, libpcre2 and libmicrohttpd are loaded when used (driver/base/dl.h).
base_libs = -lyajl -ldl
driver_libs = -lcap
graph_libs = -lsqlite3
libs = $(graph_libs) $(driver_libs) $(base_libs)
cmd_libs = -lnghttp2 -lprotobuf-c

# ---- what there is ----

base_src := $(wildcard driver/base/*.c)
driver_src := $(wildcard driver/*.c)
graph_src := $(wildcard graph/name/*.c graph/store/*.c graph/fetch/*.c graph/*.c)
cmd_src := $(wildcard cmd/*.c cmd/serve/*.c)
proto := $(wildcard cmd/serve/*.proto)
unit_src := $(wildcard tests/unit/*_test.c)
unit_shared_src := $(filter-out $(unit_src),$(wildcard tests/unit/*.c))
fuzz_src := $(wildcard tests/fuzz/*_fuzz.c)
fuzz_main_src := tests/fuzz/replay.c
fuzz_shared_src := $(filter-out $(fuzz_src) $(fuzz_main_src),$(wildcard tests/fuzz/*.c))
tool_shared_src := $(wildcard tests/tools/*_filter.c)
unpack_src := $(wildcard driver/unpack/*.c)
tool_src := $(filter-out $(tool_shared_src),$(wildcard tests/tools/*.c tests/bench/*.c))
bats := $(wildcard tests/integration/*.bats tests/runtimes/containerd/*.bats \
	tests/runtimes/docker/*.bats)

objects = $(patsubst %.c,$(B)/%.o,$(1))
cmd_objects = $(call objects,$(1)) $(patsubst %.proto,$(B)/%.pb-c.o,$(proto))
all_src := $(base_src) $(driver_src) $(graph_src) $(cmd_src) $(unit_src) $(unit_shared_src) \
	$(unpack_src) $(fuzz_src) $(fuzz_main_src) $(fuzz_shared_src) $(tool_src) $(tool_shared_src)
all_objects := $(call objects,$(all_src))
library_objects := $(call objects,$(base_src) $(driver_src) $(graph_src))

layers := $(B)/libgraph.a $(B)/libdriver.a $(B)/libbase.a
shared := $(B)/liboverlaid.so.$(VERSION)
static := $(B)/liboverlaid.a
program := $(B)/overlaid
unpack := $(B)/overlaid-unpack
unit_tests := $(patsubst %.c,$(B)/%,$(unit_src))
fuzz_tests := $(patsubst %.c,$(B)/%,$(fuzz_src))
tools := $(patsubst %.c,$(B)/%,$(tool_src))

.PHONY: all library tools tests check check-unit check-integration check-fuzz fuzz demo bench bench-pull check-runtimes runtimes-tools \
	install setup lint lint-layers lint-headers lint-length lint-format lint-cppcheck lint-tidy clean help FORCE
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:

all: library $(program) $(unpack)

library: $(shared) $(static)

tests: all $(unit_tests) $(fuzz_tests) $(tools) runtimes-tools

tools: $(tools)

help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile

# ---- compiling ----

# Changed flags are a changed source. And where a goal wants tools, they are installed before
# anything is compiled.
setup_for := $(if $(filter check check-unit check-integration check-fuzz check-runtimes,$(MAKECMDGOALS)),--build --test) \
	$(if $(filter fuzz,$(MAKECMDGOALS)),--build --fuzz) \
	$(if $(filter lint%,$(MAKECMDGOALS)),--build --lint) $(if $(filter bench bench-pull,$(MAKECMDGOALS)),--build --bench)
setup_for := $(strip $(setup_for))
$(B)/flags: FORCE
	@$(if $(setup_for),scripts/setup $(setup_for))
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(CC) $(cflags) :: $(ldflags))' | cmp -s - $@ || \
		echo '$(subst ','\'',$(CC) $(cflags) :: $(ldflags))' >$@

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(cflags) -MMD -MP -c -o $@ $<

-include $(all_objects:.o=.d)

# Messages of gRPC: their code is made by protoc-c, and included as "cmd/serve/NAME.pb-c.h".
$(B)/%.pb-c.c $(B)/%.pb-c.h &: %.proto $(B)/flags
	@mkdir -p $(@D)
	$(call say,PROTO,$<)protoc-c --c_out=$(B) $<

$(B)/%.pb-c.o: $(B)/%.pb-c.c
	$(call say,CC,$<)$(CC) $(filter-out -Wundef,$(cflags)) -c -o $@ $<

$(call objects,$(cmd_src) $(unit_src) $(fuzz_src)): | $(patsubst %.proto,$(B)/%.pb-c.h,$(proto))

# ---- linking ----

# One archive a layer: what calls upwards does not link (scripts/check-layers).
$(B)/libbase.a: $(call objects,$(base_src))
$(B)/libdriver.a: $(call objects,$(driver_src))
$(B)/libgraph.a: $(call objects,$(graph_src))
$(layers): $(B)/flags
	@rm -f $@
	$(call say,AR)$(AR) rcs $@ $(filter %.o,$^)

$(shared): $(library_objects) graph/overlaid.map $(B)/flags
	$(call say,LINK)$(CC) $(ldflags) -shared -Wl,-soname,liboverlaid.so.$(MAJOR) \
		-Wl,--version-script=graph/overlaid.map $(if $(SAN),,-Wl,-z,defs) \
		-o $@ $(library_objects) $(libs)
	@ln -sf $(@F) $(B)/liboverlaid.so.$(MAJOR)
	@ln -sf $(@F) $(B)/liboverlaid.so

# One object whose only global names are overlaid_*: ours cannot clash with the user's.
$(static): $(library_objects)
	@rm -f $@
	$(call say,LINK,$(B)/liboverlaid.o)$(CC) -r -nostdlib $(if $(findstring -flto,$(CFLAGS)),$(CFLAGS) -flinker-output=nolto-rel) \
		-o $(B)/liboverlaid.o $(library_objects)
	$(if $(V),,@)$(OBJCOPY) --wildcard --keep-global-symbol='overlaid_*' $(B)/liboverlaid.o
	$(call say,AR)$(AR) rcs $@ $(B)/liboverlaid.o

# The program sees the exported names of the library, and libbase. It is linked with the archives of
# the library, SQLite and yajl where the system has them: a command then starts 0.6 ms sooner, of 3.
# STATIC= links it with the shared ones.
STATIC ?= 1
archive = $(if $(STATIC),$(filter /%,$(shell $(CC) -print-file-name=lib$(1).a)))
either = $(or $(call archive,$(1)),$(2))
link_program = $(CC) $(ldflags) $(1) -o $(2) $(call cmd_objects,$(cmd_src)) $(B)/libbase.a -L$(B) \
	$(if $(STATIC),$(static),-loverlaid) $(call either,cap,-lcap) $(call either,sqlite3,-lsqlite3) \
	$(call either,yajl_s,-lyajl) $(call either,nghttp2,-lnghttp2) $(call either,protobuf-c,-lprotobuf-c) \
	-ldl -lm
$(program): $(call cmd_objects,$(cmd_src)) $(B)/libbase.a $(shared) $(static) $(B)/flags
	$(call say,LINK)$(call link_program,-Wl$(comma)-rpath$(comma)'$$ORIGIN',$@)

# What unpacks layers, started by the library.
link_unpack = $(CC) $(ldflags) -o $(1) $(call objects,$(unpack_src)) $(B)/libdriver.a $(B)/libbase.a \
	$(call either,cap,-lcap) $(call either,yajl_s,-lyajl) -ldl -lm
$(unpack): $(call objects,$(unpack_src)) $(B)/libdriver.a $(B)/libbase.a $(B)/flags
	$(call say,LINK)$(call link_unpack,$@)

# The command line but for its main(), for the unit tests.
$(B)/libcmd.a: $(call cmd_objects,$(filter-out cmd/main.c,$(cmd_src))) $(B)/flags
	@rm -f $@
	$(call say,AR)$(AR) rcs $@ $(filter %.o,$^)

# $(call wrapped,NAMES): calls of these go to the test's own __wrap_NAME.
wrapped = $(patsubst %,-Wl$(comma)--wrap=%,$(1))
$(B)/tests/unit/mount_test: wrap = $(call wrapped,sys_mount sys_umount)
$(B)/tests/unit/quota_test: wrap = $(call wrapped,sys_quotactl_fd sys_quotactl ioctl probe_fs_name)

$(unit_tests): %: %.o $(call objects,$(unit_shared_src) $(tool_shared_src)) $(B)/libcmd.a \
		$(layers) $(B)/flags
	$(call say,LINK)$(CC) $(ldflags) $(wrap) -o $@ $(filter %.o,$^) $(B)/libcmd.a $(layers) \
		-lcmocka $(cmd_libs) $(libs)

# The main() is libFuzzer's, or one that runs the inputs that are there.
fuzzing := $(findstring fuzzer,$(SAN))
$(fuzz_tests): %: %.o $(call objects,$(fuzz_shared_src) $(if $(fuzzing),,$(fuzz_main_src))) \
		$(B)/libcmd.a $(layers) $(B)/flags
	$(call say,LINK)$(CC) $(ldflags) $(if $(fuzzing),-fsanitize=fuzzer) -o $@ $(filter %.o,$^) \
		$(B)/libcmd.a $(layers) -lz -lcmocka $(cmd_libs) $(libs)
$(B)/tests/fuzz/tar_fuzz: $(B)/tests/unit/same_contents.o

$(tools): %: %.o $(call objects,$(tool_shared_src)) $(B)/libbase.a $(B)/flags
	$(call say,LINK)$(CC) $(ldflags) -o $@ $(filter %.o,$^) $(B)/libbase.a -lcap $(base_libs)

# Programs of tests, in Go, of the sources that Debian packages. go itself knows what is to be made again. Where
# there is no go, what they are for is skipped. moby's sources want gotest.tools under its newer name, and two packages
# that Debian leaves out (tests/runtimes/docker/_gopath).
GOCODE ?= /usr/share/gocode
runtimes := tests/runtimes
go_path := $(CURDIR)/build/go-path
go_build = CGO_ENABLED=0 GO111MODULE=off GOFLAGS= GOPATH=$(CURDIR)/$(runtimes)/docker/_gopath:$(go_path):$(GOCODE) \
	GOCACHE=$(CURDIR)/build/go-cache go build -buildvcs=false
go_tools = if command -v go >/dev/null && [ -d $(GOCODE)/src/$(2) ]; then \
		$(if $(V),set -x;) $(go_build) -o $(B)/$(runtimes)/$(1)/ ./$(runtimes)/$(1)/...; \
	else \
		echo "  GO    skipped: go and $(3)'s sources are missing (scripts/setup --test)"; \
	fi
runtimes-tools: $(B)/flags
	@mkdir -p $(B)/$(runtimes)/containerd $(B)/$(runtimes)/docker $(go_path)/src/gotest.tools
	@ln -sfn $(GOCODE)/src/gotest.tools $(go_path)/src/gotest.tools/v3
	@$(call go_tools,containerd,github.com/containerd/containerd/snapshots/testsuite,containerd)
	@$(call go_tools,docker,github.com/docker/docker/daemon/graphdriver/graphtest,docker)

# ---- testing ----

# TESTS names sources; unit tests and fuzz targets are run as programs.
run_tests = BUILD=$(B) TIMEOUT=$(if $(SAN),1800,600) scripts/run-tests \
	$(patsubst %.c,$(B)/%,$(if $(TESTS),$(TESTS),$(1)))

check: tests
	@$(call run_tests,$(bats) $(unit_src) $(fuzz_src))

# Some unpack layers.
check-unit: all $(unit_tests)
	@$(call run_tests,$(unit_src))

check-integration: tests
	@$(call run_tests,$(bats))

check-fuzz: $(fuzz_tests)
	@$(call run_tests,$(fuzz_src))

check-runtimes: tests
	@BUILD=$(B) TRIXIE=$(TRIXIE) tests/runtimes/check

FUZZ ?= $(patsubst tests/fuzz/%_fuzz.c,%,$(fuzz_src))
fuzz: $(patsubst %,$(B)/tests/fuzz/%_fuzz,$(FUZZ))
	@BUILD=$(B) SECONDS_EACH=$(or $(SECONDS),60) MERGE=$(MERGE) scripts/fuzz $(FUZZ)

demo:
	@scripts/demo

sources := $(sort $(all_src))
headers := $(sort $(wildcard *.h driver/*.h driver/*/*.h graph/*.h graph/*/*.h cmd/*.h cmd/*/*.h \
	tests/*/*.h))
cpus = $(shell nproc)

# With -k, all of them are run.
lint: lint-layers lint-headers lint-length lint-format lint-cppcheck lint-tidy

lint-layers: $(layers)
	scripts/check-layers $(B)

lint-headers: $(B)/flags
	scripts/check-headers

lint-length: $(B)/flags
	scripts/check-length

lint-format: $(B)/flags
	@clang-format --dry-run -Werror $(sources) $(headers)
	@echo "clang-format: ok"

# It does not know cleanup attributes; LeakSanitizer does.
lint-cppcheck: $(B)/flags
	@cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
		--suppress=memleak --suppress=resourceLeak \
		--error-exitcode=1 -D_GNU_SOURCE -D__linux__ -D__x86_64__ -j $(cpus) -I. $(sources)
	@echo "cppcheck: ok"

lint-tidy: $(B)/flags $(patsubst %.proto,$(B)/%.pb-c.h,$(proto))
	@printf '%s\n' $(filter-out driver/base/err.c,$(sources)) | xargs -P $(cpus) -n 1 sh -c \
		'exec clang-tidy --quiet "$$0" -- $(subst ','\'',$(filter-out -Werror -Wno-format-truncation,$(cflags))) \
		-include scripts/clang-tidy.h' 2>&1 | { ! grep -vE '^[0-9]+ warnings? (and .* )?generated|^Suppressed|^Use -header'; }
	@echo "clang-tidy: ok"

BENCH ?= tests/bench/containers tests/bench/unpack
bench_ours = BUILD=$(CURDIR)/$(B) OVERLAID=$(CURDIR)/$(B)/overlaid
bench: all $(tools) runtimes-tools
	@set -e; for b in $(BENCH); do $(bench_ours) "$$b" $(ARGS); done

bench-pull: all $(tools)
	@$(bench_ours) tests/bench/unpack --images "nginx python node big" --contestants pulls --table $(ARGS)

# ---- installing ----

# Outside /usr the program knows where its library is; in /usr the loader does.
install_rpath = $(if $(filter /usr,$(prefix)),,-Wl$(comma)-rpath$(comma)$(libdir))

install: all
	$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(includedir) \
		$(DESTDIR)$(libexecdir)
	$(call link_program,$(install_rpath),$(B)/overlaid.install)
	$(INSTALL) -m 755 $(B)/overlaid.install $(DESTDIR)$(bindir)/overlaid
	$(INSTALL) -m 755 $(unpack) $(DESTDIR)$(libexecdir)/
	$(INSTALL) -m 755 $(shared) $(DESTDIR)$(libdir)/
	ln -sf $(notdir $(shared)) $(DESTDIR)$(libdir)/liboverlaid.so.$(MAJOR)
	ln -sf $(notdir $(shared)) $(DESTDIR)$(libdir)/liboverlaid.so
	$(INSTALL) -m 644 $(static) $(DESTDIR)$(libdir)/
	$(INSTALL) -m 644 graph/overlaid.h $(DESTDIR)$(includedir)/overlaid.h
	sed -e 's|@PREFIX@|$(prefix)|' -e 's|@LIBDIR@|$(libdir)|' -e 's|@INCLUDEDIR@|$(includedir)|' \
		-e 's|@VERSION@|$(VERSION)|' graph/overlaid.pc.in \
		>$(DESTDIR)$(libdir)/pkgconfig/overlaid.pc

setup:
	scripts/setup --build --test

clean:
	@[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name test-images ! -name corpus ! -name trixie -exec rm -rf {} +
