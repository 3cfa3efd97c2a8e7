# Double: installs into DESTDIR, with the postinst script beside it.
PKG_BUILD_DIR := $(DESTDIR).build

define BuildPackage
all:
	$(call Build/Prepare)
	$(call Package/$(1)/install,$(DESTDIR))
	@printf '%s\n' "$$$$POSTINST" > $(DESTDIR).postinst
all: export POSTINST = $$(Package/$(1)/postinst)
endef
