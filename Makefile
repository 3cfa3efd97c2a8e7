# make demo [LINE=next|cross|next-ra]   a simulated line comes up
# make test                              all tests, the end-to-end ones included
# make luci                              the browser tests of the LuCI pages alone
# make screenshots                       the pictures of the LuCI pages in docs/img
# make bench                             the numbers of docs/bench.md and docs/footprint.md
# make fuzz [TIME=30s]                   every fuzz target for TIME each
# make soak [SEEDS=20]                   years of lease life in virtual time
# make build                             the binaries for this machine, in out/
# make dist                              the OpenWrt packages, in out/dist

SHELL = /bin/bash
LINE ?= next
TIME ?= 30s
SEEDS ?= 20
# -buildvcs is left to the environment: a fresh clone may belong to another user.
# docs/footprint.md says what the flags are for.
BUILD = mapfile -t flags <cmd/sofu-proto/goflags && CGO_ENABLED=0 go build "$${flags[@]}"

.PHONY: demo test unit qemu luci screenshots lint lab bench fuzz soak build dist clean

demo:
	@lab/setup demo
	@$(MAKE) --no-print-directory build
	@lab/run lab/demo $(LINE)

test: lint unit qemu luci fuzz lab
test: TIME = 2s

lint:
	@lab/setup test
	@echo '== go mod verify, gofmt, go vet, staticcheck, shellcheck'
	@for dir in . openwrt/tools; do (cd $$dir && go mod verify >/dev/null) || exit 1; done
	@files=$$(gofmt -l cmd docs internal lab luci/*.go luci/lmo openwrt) && test -z "$$files" || { echo "gofmt would change: $$files"; exit 1; }
	@go vet ./... && go vet -tags lab ./lab/...
	@go tool staticcheck ./... && go tool staticcheck -tags lab ./lab/...
	@shellcheck lab/setup lab/run lab/init lab/demo lab/test lab/bench/run lab/footprint/run lab/footprint/bytes lab/qemu/run openwrt/dist openwrt/postinst docs/sofu-proto.bash \
		luci/postinst luci/luci-proto-sofutobanku/root/usr/libexec/rpcd/luci.sofutobanku \
		files/lib/netifd/proto/sofutobanku.sh lab/netifd/netifd-proto.sh .ci/run

# What is skipped is shown; of the rest, what a person has to read.
unit:
	@echo '== unit tests with the race detector'
	@mkdir -p out
	@set -o pipefail; go test -race -count=1 -v ./... 2>&1 | tee out/unit.log | \
		grep --line-buffered -E '^(ok|FAIL|panic:)|--- (FAIL|SKIP)' || \
		{ grep -vE '^ *(=== |--- PASS|PASS$$)' out/unit.log; exit 1; }

qemu:
	@echo '== unit tests for other processors, emulated'
	@lab/qemu/run

lab:
	@echo '== end to end, in a kernel with ip6_tunnel'
	@lab/test

# What drives the browser is fetched once, in the version that the lock file pins.
luci/test/node_modules: luci/test/package-lock.json
	@lab/setup test
	@cd luci/test && npm ci --silent --no-audit --no-fund
	@touch $@

# Of what passes only the count is shown. The screenshots are in out/luci.
luci: luci/test/node_modules
	@echo '== the LuCI pages in Chromium'
	@mkdir -p out/luci
	@timeout 300 node --test --test-reporter=tap luci/test/*.test.mjs >out/luci/log 2>&1 || \
		{ sed -n '/^ *not ok/,/^ *\.\.\.$$/p' out/luci/log; tail -n 20 out/luci/log; exit 1; }
	@grep -E '^# (pass|skipped|duration_ms)' out/luci/log

screenshots: luci/test/node_modules
	@node luci/test/screenshots.mjs

bench:
	@lab/setup bench
	@lab/bench/run
	@lab/bench/run forward
	@lab/footprint/run

# Each target has ten seeds at least, whose names say what they are: a crasher is kept
# under one too. Go before 1.27 may fail a target whose time is over for nothing but that
# (golang/go#75804).
fuzz:
	@set -e; for f in $$(grep -lrE '^func Fuzz' --include='*_test.go' cmd internal); do \
		dir=$$(dirname $$f); \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$f); do \
			echo "== $$dir $$target, $(TIME)"; \
			seeds=$$(ls $$dir/testdata/fuzz/$$target | grep -cvxE '[0-9a-f]{16}') && test $$seeds -ge 10 || \
				{ echo "$$seeds seeds with a name, want 10"; exit 1; }; \
			out=$$(go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(TIME) -fuzzminimizetime 1s "./$$dir" 2>&1) || \
				grep -qx '    context deadline exceeded' <<<"$$out" || { echo "$$out"; exit 1; }; \
			grep execs <<<"$$out" | tail -1; \
		done; \
	done

# The figures of docs/reliability.md.
soak:
	@set -o pipefail; SOAK=$(SEEDS) go test -count=1 -timeout 2h -v -run '^Test(OrdinaryLife|Outages|Soak)$$' ./cmd/sofu-proto | \
		grep --line-buffered -vE '^ *(=== |--- PASS)'

build:
	@mkdir -p out
	@$(BUILD) -o out/ ./cmd/sofu-proto ./cmd/sofu-tools ./cmd/sofu-isp

dist:
	@lab/setup dist
	@openwrt/dist

clean:
	rm -rf out
