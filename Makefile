# make demo [LINE=next|cross|next-ra]   a simulated line comes up
# make test                              all tests, the end-to-end ones included
# make bench                             the numbers of docs/bench.md
# make fuzz [TIME=30s]                   every fuzz target for TIME each
# make build                             the binaries for this machine, in out/
# make dist                              the OpenWrt packages, in out/dist

SHELL = /bin/bash
LINE ?= next
TIME ?= 30s
VERSION := $(shell sed -n 's/^PKG_VERSION:=//p' openwrt/Makefile)
# -buildvcs is left to the environment: a fresh clone may belong to another user.
# Without inlining (-l) the binary is a tenth smaller, and as quick: it waits.
BUILD = CGO_ENABLED=0 go build -trimpath -gcflags=all=-l -ldflags '-s -w -X main.version=$(VERSION)'

.PHONY: demo test unit lint lab bench fuzz build dist clean

demo:
	@lab/setup demo
	@$(MAKE) --no-print-directory build
	@lab/run lab/demo $(LINE)

test: lint unit lab

lint:
	@lab/setup test
	@echo '== gofmt, go vet, staticcheck, shellcheck'
	@files=$$(gofmt -l cmd internal lab openwrt) && test -z "$$files" || { echo "gofmt would change: $$files"; exit 1; }
	@go vet ./... && go vet -tags lab ./lab/...
	@go tool staticcheck ./... && go tool staticcheck -tags lab ./lab/...
	@shellcheck lab/setup lab/run lab/uml-init lab/demo lab/test lab/bench/run openwrt/dist openwrt/postinst \
		files/lib/netifd/proto/sofutobanku.sh lab/netifd/netifd-proto.sh .ci/run

# What is skipped is shown; of the rest, what a person has to read.
unit:
	@echo '== unit tests with the race detector'
	@mkdir -p out
	@set -o pipefail; go test -race -count=1 -v ./... 2>&1 | tee out/unit.log | \
		grep --line-buffered -E '^(ok|FAIL|panic:)|--- (FAIL|SKIP)' || \
		{ grep -vE '^ *(=== |--- PASS|PASS$$)' out/unit.log; exit 1; }

lab:
	@echo '== end to end, in a kernel with ip6_tunnel'
	@lab/test

bench:
	@lab/setup bench
	@lab/bench/run

fuzz:
	@set -e; for f in $$(grep -lrE '^func Fuzz' --include='*_test.go' cmd internal); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$f); do \
			echo "== $$(dirname $$f) $$target, $(TIME)"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(TIME) "./$$(dirname $$f)"; \
		done; \
	done

build:
	@mkdir -p out
	@$(BUILD) -o out/ ./cmd/sofu-proto ./cmd/sofu-isp

dist:
	@lab/setup dist
	@openwrt/dist

clean:
	rm -rf out
