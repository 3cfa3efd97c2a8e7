# Double: installs into DESTDIR, with the postinst script and the flags of go install
# beside it.
PKG_BUILD_DIR := $(DESTDIR).build

define BuildPackage
all:
	$(call Build/Prepare)
	$(call Package/$(1)/install,$(DESTDIR))
	@printf '%s\n' "$$$$POSTINST" > $(DESTDIR).postinst
	@printf '%s\n' $(GO_PKG_INSTALL_ARGS) > $(DESTDIR).flags
all: export POSTINST = $$(Package/$(1)/postinst)
endef
