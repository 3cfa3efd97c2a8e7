# Double: PROGRAM was built elsewhere.
GO_PKG_INSTALL_ARGS = -v
GoPackage/Package/Install/Bin = install -D -m0755 $(PROGRAM) $(1)$(GO_PKG_INSTALL_BIN_PATH)/$(notdir $(GO_PKG_BUILD_PKG))
GO_PKG_VARS = GOOS=linux GOARCH=mipsle CGO_ENABLED=1 $(GO_PKG_BUILD_VARS)
