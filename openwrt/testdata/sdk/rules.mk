# A double of the few things of OpenWrt's build system that ../../Makefile uses, so
# that what it installs can be compared with the packages of dist.
INCLUDE_DIR := $(TOPDIR)/include
INSTALL_DIR := install -d -m0755
INSTALL_BIN := install -m0755
CP := cp -fpR
