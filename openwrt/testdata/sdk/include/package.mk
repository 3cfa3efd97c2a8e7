# Double: installs each package into a folder of its name in DESTDIR, with its postinst
# script, the programs that go install is told to build, and its flags beside it.
PKG_BUILD_DIR := $(DESTDIR)/build

define BuildPackage
all: install-$(1)
install-$(1):
	$(call Build/Prepare)
	$(call Package/$(1)/install,$(DESTDIR)/$(1))
	@printf '%s\n' "$$$$POSTINST" > $(DESTDIR)/$(1).postinst
	@printf '%s\n' $(GO_PKG_BUILD_PKG) > $(DESTDIR)/programs
	@printf '%s\n' $(GO_PKG_INSTALL_ARGS) > $(DESTDIR)/flags
install-$(1): export POSTINST = $$(Package/$(1)/postinst)
endef
