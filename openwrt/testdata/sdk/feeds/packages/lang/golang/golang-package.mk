# Double: the programs in PROGRAMS were built elsewhere.
GO_PKG_INSTALL_ARGS = -v
GO_PKG_BUILD_BIN_DIR = $(PROGRAMS)
GO_PKG_VARS = GOOS=linux GOARCH=mipsle CGO_ENABLED=1 $(GO_PKG_BUILD_VARS)
